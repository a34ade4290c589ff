# Sourced in a guest: ". /vm/rc; start_corosync; start_daemon".
. /vm/env
export PATH=/usr/sbin:/usr/bin:/vm

quorate() { corosync-quorumtool -s 2>/dev/null | grep -q '^Quorate:.*Yes'; }

# corosync puts itself into the background; the daemon under test waits for it by itself, but a node
# whose daemon is up long before the others' would count their absence from the wrong moment.
start_corosync() { corosync; tries=0; until quorate || [ $tries -ge 600 ]; do tries=$((tries + 1)); sleep .1; done; }

# In the foreground; what it writes to standard error, all of its log with -D, is stamped line by line (by a process that
# gives way to those that it is woken by); the exit status is kept.
start_daemon() {
	rm -f /run/daemon.exit
	( { $DAEMON $DAEMON_ARGS "$@" 2>&1; echo $? >/run/daemon.exit; } |
		chrt --batch 0 /vm/dlm-vm-agent stamp /var/log/daemon.stamped ) </dev/null >/dev/null 2>&1 &
}

start_all() { start_corosync; start_daemon; }
