//! What `dlm-vm --help` says.

pub(crate) const TEXT: &str = "\
dlm-vm: clusters of virtual machines with the real kernel dlm, gfs2 and corosync

The machines are emulated (QEMU, no KVM needed) and live in a network namespace of their own; nothing
of the host is touched outside the state directory. Needs root, and about 640 MiB of memory a node.

A first look:
  dlm-vm up 3                    build what is missing, boot three nodes, wait for their daemons
  dlm-vm gfs2                    make a gfs2 on the shared disk, mount it on every node at /mnt/gfs2
  dlm-vm all 'dlm_tool ls'       run a command on every node
  dlm-vm kill 3                  pull the plug of node 3, under the others' eyes
  dlm-vm timeline                what all logs say, in order, by one clock
  dlm-vm down                    end the machines, remove the network

Before anything else:
  needs                          Debian packages that the host needs
  build [--fresh]                download packages, make root image, initramfs and agent
        [--kernel PACKAGE|DEB]   another kernel than the release's newest, such as one of backports

A cluster by hand:
  up [N] [OPTIONS]               boot N nodes (3); ends a cluster that is there already
  status                         each node's daemon, and whom it sees
  sh NODE COMMAND                run a shell command there; output and exit status are passed on
  sh NODE                        a shell there: a command a line from standard input, until its end or exit
  all COMMAND                    the same on every node
  put NODE FROM TO               copy a file there
  kill NODE                      pull the plug
  boot NODE                      switch on and wait until all daemons see one another
  stop NODE, cont NODE           freeze a machine (it hangs), let it go on
  link NODE up|down              its cluster interface; commands still reach it
  fence ok|fail|'delay SECONDS'  how the power switch answers fence agents
  gfs2                           make and mount the shared file system
  console NODE                   what its kernel has said since it was switched on
  timeline                       merged logs of corosync, daemon, kernel and power switch
  down                           end everything

Scenarios, measurements, demonstration:
  test [NAME..] [OPTIONS]        run scenarios (all of them), report, exit 1 if one fails
  test --list                    names and promises
  bench-recovery [--rounds N] --daemon PATH [OPTIONS]
                                 that daemon and Debian's in turn on the same machines: times of
                                 recoveries and joins, memory, processor (3 rounds of 8 to 12 minutes)
  bench-deaths [--rounds N] --daemon PATH [OPTIONS]
                                 of that the deaths without fencing alone (3 rounds of 4 minutes)
  bench-plock [--rounds N] --daemon PATH [OPTIONS]
                                 the same for POSIX locks: pairs a second, joins with 10,000 of them
  demo [OPTIONS]                 kill a node under load, print the recovery step by step

OPTIONS:
  --daemon c|PATH                the daemon under test: Debian's (the default), or a binary of this host
  --daemon-of NODE=c|PATH        another one for one node (not with test)
  --tool PATH                    a dlm_tool in place of Debian's
  --library PATH                 a libdlmcontrol.so.3 in place of Debian's
  --token MS                     corosync's token timeout (3000); 1000 is quick on an idle host
  --conf LINE                    a further line of dlm.conf, may be given again
  --no-fencing  --ipv6  --two-node  --memory MIB

In a node: `. /vm/rc; start_corosync; start_daemon` starts what was stopped; logs are
/var/log/daemon.stamped, /var/log/cluster/corosync.log and /var/log/fence_vm.log.

Environment: DLM_VM_DIR, the state directory (target/vm): package cache, images, the running cluster,
and evidence of failed scenarios in `failures`. DLM_VM_NICE, priority of the machines (0).
DLM_VM_CROWD='PROCESSES LOCKS', how many and how often in plock-crowd (100 20).
Run it in the source tree: the in-guest agent is built by cargo.
";
