# What can be done with this tree; `make help` lists it. The work itself is cargo's and that of tests/check.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
SBINDIR ?= $(PREFIX)/sbin
# Debian's own: LIBDIR=/usr/lib/x86_64-linux-gnu
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
UNITDIR ?= $(PREFIX)/lib/systemd/system
# Where each shell looks for what packages bring; Debian's zsh also in $(PREFIX)/share/zsh/vendor-completions.
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
UDEVRULESDIR ?= $(PREFIX)/lib/udev/rules.d
MODULESLOADDIR ?= $(PREFIX)/lib/modules-load.d
# The unit reads both; each distribution knows one.
ENVFILE ?= $(SYSCONFDIR)/$(if $(wildcard /etc/debian_version),default,sysconfig)/dlm

CARGO ?= cargo
RELEASE = $(or $(CARGO_TARGET_DIR),target)/release
PROGRAMS = dlm_controld dlm_tool dlm_stonith dlm_exporter
UNITS = dlm.service dlm_exporter.service
# In the section that the name ends with.
MANUALS = dlm.conf.5 dlm_controld.8 dlm_exporter.8 dlm_stonith.8 dlm_tool.8
MANUALS_INSTALLED = $(foreach page,$(MANUALS),man$(subst .,,$(suffix $(page)))/$(page))
# The file's name as with the C library: a packager's file lists stay as they are.
LIBRARY = libdlmcontrol.so.3.2
LIBRARY_LINKS = libdlmcontrol.so.3 libdlmcontrol.so
CAPI = libdlmcontrol/capi

.DEFAULT_GOAL := build
.PHONY: help build check needs vm-needs demo demo-vm sim mutants scale fuzz model bench-recovery bench-plock bench-queries bench-cpu install uninstall clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

build: ## release binaries of the daemon, its tools and the C library
	$(CARGO) build --release --locked -p dlm-controld -p dlm-tools -p libdlmcontrol-capi

check: ## all gates; SKIP=fmt,vm leaves some out, TIERS=unit,doc runs those alone, VM_SCENARIOS='kill hang' chooses scenarios
	@tests/check/run

needs: ## Debian packages that are missing for all this, the compiler too (as root)
	@tests/check/tiers/setup

vm-needs: needs
	@tests/check/install-packages $$($(CARGO) run --quiet --release --locked -p dlm-vm -- needs)

demo: needs ## a node of three daemons on the testbed dies; its recovery, step by step (as root, seconds)
	$(CARGO) build --locked -p dlm-controld -p dlm-tools -p dlm-testbed \
		--features dlm-controld/testbed,dlm-testbed/live
	$(or $(CARGO_TARGET_DIR),target)/debug/dlm-demo

demo-vm: vm-needs build ## a node of a cluster of virtual machines dies; its recovery, step by step
	$(CARGO) run --release --locked -p dlm-vm -- demo --daemon $(RELEASE)/dlm_controld --tool $(RELEASE)/dlm_tool

# From the variables of make to the options of the program, those that are set.
sim_fixed = $(if $(NODES),--nodes '$(NODES)') $(if $(LOCKSPACES),--lockspaces '$(LOCKSPACES)') $(if $(LOCKS),--locks '$(LOCKS)') $(if $(RARE),--rare '$(RARE)') $(if $(WITHDRAWS),--withdraws) $(if $(AIMED),--aimed) $(if $(LIES),--lies) $(if $(C_PEERS),--c-peers)
sim_storms = $(if $(SEEDS),--seeds '$(SEEDS)') $(if $(FIRST),--first '$(FIRST)') $(if $(SECONDS),--seconds '$(SECONDS)')

sim: ## random faults on simulated clusters: SEEDS=10000 NODES=1..128 LOCKSPACES= LOCKS= RARE= WITHDRAWS= AIMED= LIES= C_PEERS= FIRST= SECONDS=; SEED=n tells one run again
	@$(CARGO) build --quiet --release --locked -p dlm-sim $(if $(C_PEERS),--features mutants)
	@$(RELEASE)/dlm-sim $(if $(SEED),replay '$(SEED)' $(if $(KEEP),--keep '$(KEEP)'),storms $(sim_storms)) $(sim_fixed)

mutants: ## deliberate defects of the core: the simulator has to find each of them; MUTANT=trust-own-part hunts one
	@$(CARGO) run --quiet --release --locked -p dlm-sim --features mutants -- mutants $(if $(MUTANT),--only '$(MUTANT)')

scale: ## what a death and a join cost on 3 to 128 nodes with 1 to 1000 lockspaces, as a table with its growth
	@$(CARGO) run --quiet --release --locked -p dlm-sim -- scale

model: ## all interleavings of small clusters under a few faults: NODES=2 FAULTS=crash,cut QUEUES=1 DEPTH= names one, QUICK=1 takes seconds
	@$(CARGO) build --quiet --release --locked -p dlm-model
	@$(RELEASE)/dlm-model $(if $(FAULTS),--faults '$(FAULTS)' $(if $(NODES),--nodes '$(NODES)') $(if $(QUEUES),--queues) $(if $(DEPTH),--depth '$(DEPTH)'),$(if $(QUICK),--quick))

fuzz: ## libFuzzer on everything that reads foreign bytes: SECONDS=60 for each target, TARGETS='wire core' (needs cargo-fuzz)
	@tests/fuzz/run '$(or $(SECONDS),60)' $(TARGETS)

bench-recovery: vm-needs build ## this daemon beside Debian's C daemon on the same virtual machines; ROUNDS=3
	$(CARGO) run --release --locked -p dlm-vm -- bench-recovery --rounds $(or $(ROUNDS),3) --daemon $(RELEASE)/dlm_controld

bench-plock: vm-needs build ## POSIX locks: this daemon beside Debian's C daemon on the same virtual machines; ROUNDS=3
	$(CARGO) run --release --locked -p dlm-vm -- bench-plock --rounds $(or $(ROUNDS),3) --daemon $(RELEASE)/dlm_controld

# In a folder of their own: what is built for the testbed must not be taken for a release.
bench-cpu: ## processor time of a POSIX lock in core, daemon and flight recorder
	$(CARGO) run --release --locked -p dlm-core --example plock_rate
	$(CARGO) test --release --locked -p dlm-controld --lib -- --ignored --nocapture --test-threads=1 cost_of_a_plock share_of_the_recorder
	$(CARGO) test --release --locked -p dlm-recording -- --ignored --nocapture cost_of_a_request

bench-queries: export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)/testbed
bench-queries: needs ## what status, scrapes and a flood of queries cost the daemon, on the testbed (as root)
	$(CARGO) build --release --locked -p dlm-controld -p dlm-tools -p dlm-testbed \
		--features dlm-controld/testbed,dlm-testbed/live
	$(CARGO) test --release --locked -p dlm-testbed --features live --test figures -- --ignored --nocapture --test-threads=1

# No dependency on build: `make install` runs as root, who need not have a compiler.
install: ## what `make build` made, with units and rules, to DESTDIR= and PREFIX=/usr/local
	install -d '$(DESTDIR)$(SBINDIR)' '$(DESTDIR)$(UNITDIR)' '$(DESTDIR)$(UDEVRULESDIR)' \
		'$(DESTDIR)$(MODULESLOADDIR)' '$(DESTDIR)$(dir $(ENVFILE))' \
		'$(DESTDIR)$(LIBDIR)' '$(DESTDIR)$(INCLUDEDIR)' '$(DESTDIR)$(PKGCONFIGDIR)' \
		'$(DESTDIR)$(MANDIR)/man5' '$(DESTDIR)$(MANDIR)/man8' \
		'$(DESTDIR)$(BASHDIR)' '$(DESTDIR)$(ZSHDIR)' '$(DESTDIR)$(FISHDIR)'
	for program in $(PROGRAMS); do \
		install -m 0755 "$(RELEASE)/$$program" '$(DESTDIR)$(SBINDIR)' || exit 1; \
	done
	install -m 0644 $(RELEASE)/libdlmcontrol_c.so '$(DESTDIR)$(LIBDIR)/$(LIBRARY)'
	for link in $(LIBRARY_LINKS); do ln -sf $(LIBRARY) "$(DESTDIR)$(LIBDIR)/$$link" || exit 1; done
	install -m 0644 $(CAPI)/include/libdlmcontrol.h '$(DESTDIR)$(INCLUDEDIR)'
	sed 's,@PREFIX@,$(PREFIX),; s,@LIBDIR@,$(LIBDIR),; s,@INCLUDEDIR@,$(INCLUDEDIR),' \
		$(CAPI)/libdlmcontrol.pc.in > '$(DESTDIR)$(PKGCONFIGDIR)/libdlmcontrol.pc'
	chmod 0644 '$(DESTDIR)$(PKGCONFIGDIR)/libdlmcontrol.pc'
	for unit in $(UNITS); do \
		sed 's,/usr/sbin/,$(SBINDIR)/,' "contrib/systemd/$$unit" > "$(DESTDIR)$(UNITDIR)/$$unit" && \
		chmod 0644 "$(DESTDIR)$(UNITDIR)/$$unit" || exit 1; \
	done
	install -m 0644 contrib/udev/51-dlm.rules '$(DESTDIR)$(UDEVRULESDIR)'
	install -m 0644 contrib/modules-load.d/dlm.conf '$(DESTDIR)$(MODULESLOADDIR)'
	for page in $(MANUALS_INSTALLED); do \
		install -m 0644 "contrib/man/$${page##*/}" "$(DESTDIR)$(MANDIR)/$$page" || exit 1; \
	done
	install -m 0644 contrib/completions/dlm_tool.bash '$(DESTDIR)$(BASHDIR)/dlm_tool'
	install -m 0644 contrib/completions/_dlm_tool '$(DESTDIR)$(ZSHDIR)'
	install -m 0644 contrib/completions/dlm_tool.fish '$(DESTDIR)$(FISHDIR)'
	test -e '$(DESTDIR)$(ENVFILE)' || install -m 0644 contrib/sysconfig/dlm '$(DESTDIR)$(ENVFILE)'

uninstall: ## removes what install put there, but not the options in its environment file
	rm -f $(PROGRAMS:%='$(DESTDIR)$(SBINDIR)/%') $(UNITS:%='$(DESTDIR)$(UNITDIR)/%') \
		'$(DESTDIR)$(UDEVRULESDIR)/51-dlm.rules' '$(DESTDIR)$(MODULESLOADDIR)/dlm.conf' \
		$(patsubst %,'$(DESTDIR)$(LIBDIR)/%',$(LIBRARY) $(LIBRARY_LINKS)) \
		'$(DESTDIR)$(INCLUDEDIR)/libdlmcontrol.h' '$(DESTDIR)$(PKGCONFIGDIR)/libdlmcontrol.pc' \
		$(MANUALS_INSTALLED:%='$(DESTDIR)$(MANDIR)/%') \
		'$(DESTDIR)$(BASHDIR)/dlm_tool' '$(DESTDIR)$(ZSHDIR)/_dlm_tool' '$(DESTDIR)$(FISHDIR)/dlm_tool.fish'

clean: ## removes everything that was built, virtual machines' images included
	$(CARGO) clean
