#!/bin/sh
# ask-both QUESTION...: puts questions, each a command line, to this node's daemon by Debian's dlm_tool, by the one under
# test, by Debian's with the library under test, and once more by Debian's. Exit 0: all said the same, on both outputs and
# by their exit codes. 1: not, and both are printed. 2: Debian's own answers were others at each attempt: they cannot be
# compared.
debian=/run/debian libraries=usr/lib/x86_64-linux-gnu said=/run/said
[ -d $debian/usr ] || { mkdir -p $debian $said && mount -t ext4 -o ro,noload /dev/vda $debian; } || exit 3

# NAME ROOT-OF-TOOL ROOT-OF-LIBRARY QUESTION...
say() {
	name=$1 path=$2/usr/sbin:$PATH:/run library=$3/$libraries
	shift 3
	for question; do
		# Words without anything that a shell would expand.
		# shellcheck disable=SC2086
		PATH=$path LD_LIBRARY_PATH=$library $question >"$said/out" 2>"$said/err"
		status=$?
		# The time of asking, in seconds, is in both forms of status.
		sed -i 's/ now [0-9]*/ now T/; s/monotime=[0-9]*/monotime=T/' "$said/out"
		echo "-- $question"
		cat "$said/out"
		echo "-- standard error:"
		cat "$said/err"
		echo "-- exit status $status"
	done >"$said/$name"
}

for _ in 1 2 3 4 5 6 7 8 9 10; do
	say first $debian $debian "$@"
	say tool "" $debian "$@"
	say library $debian "" "$@"
	say last $debian $debian "$@"
	if busybox cmp -s $said/first $said/last; then
		for other in tool library; do
			busybox cmp -s $said/first $said/$other && continue
			echo "from Debian's program and library to the $other under test:"
			busybox diff $said/first $said/$other
			exit 1
		done
		exit 0
	fi
done
busybox diff $said/first $said/last
exit 2
