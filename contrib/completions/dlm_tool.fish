# fish completion for dlm_tool
# Generated from tools/src/commands.rs by tools/tests/completions.rs.

# The command among the words.
function __dlm_tool_command
    for word in (commandline -opc)[2..-1]
        if contains -- $word explain check history watch ls status dump plocks log_plock lockdebug lockdump dump_config set_config reload_config fence_ack join leave joinleave deadlock_check run run_start run_check run_cancel run_list record replay
            echo $word
            return 0
        end
    end
    return 1
end

# Is it one of these?
function __dlm_tool_is
    set -l command (__dlm_tool_command)
    and contains -- $command $argv
end

# Is a recording to be saved, with only its file missing?
function __dlm_tool_saves
    __dlm_tool_is record
    and contains -- save (commandline -opc)
end

complete -c dlm_tool -f
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a explain -d 'what is waited for, and what can be done'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a check -d 'one line and an exit code'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a history -d 'recoveries, and where their time went'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a watch -d 'all of it, live'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a ls -d 'lockspaces'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a status -d 'daemon, nodes, fencing'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a dump -d 'debug messages of the daemon'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a plocks -d 'POSIX locks'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a log_plock -d 'messages about POSIX locks'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a lockdebug -d 'resources and locks of the kernel'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a lockdump -d 'locks of the kernel, one a line'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a dump_config -d 'options in effect'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a set_config -d 'change options while the daemon runs'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a reload_config -d 'have dlm.conf read again'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a fence_ack -d 'say that a failed node is surely down'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a join -d 'create a lockspace'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a leave -d 'remove a lockspace'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a joinleave -d 'create a lockspace and remove it'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a deadlock_check -d 'nothing; scripts of old call it'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a run -d 'a command on other nodes, with its result'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a run_start -d 'start a command on other nodes'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a run_check -d 'the result of a command'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a run_cancel -d 'forget a command'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a run_list -d 'commands on other nodes'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a record -d 'save what the daemon was told and decided'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -a replay -d 'show a recording, and decide it again'
complete -c dlm_tool -n '__dlm_tool_is explain check history ls plocks lockdebug lockdump leave deadlock_check' -a '(dlm_tool ls 2>/dev/null | sed -n \'s/^name  *//p\')'
complete -c dlm_tool -n '__dlm_tool_is fence_ack' -a '(dlm_tool status 2>/dev/null | sed -n \'s/^fence \\([0-9]*\\) .*/\\1/p\')'
complete -c dlm_tool -n '__dlm_tool_is set_config' -a '(dlm_tool dump_config 2>/dev/null | sed -n \'s/^\\([a-z_]*\\)=.*/\\1=/p\')'
complete -c dlm_tool -n '__dlm_tool_is run_check run_cancel' -a '(dlm_tool run_list 2>/dev/null | sed -n \'s/^run_uuid \\([^ ]*\\) .*/\\1/p\')'
complete -c dlm_tool -n '__dlm_tool_is run run_start' -a '(printf \'%s\\n\' lvm lvs lvchange)'
complete -c dlm_tool -n '__dlm_tool_is replay; or __dlm_tool_saves' -F
complete -c dlm_tool -n '__dlm_tool_is record; and not __dlm_tool_saves' -a save
complete -c dlm_tool -n '__dlm_tool_is lockdump' -s M -d 'copies held for other nodes'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -s h -d 'usage'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -s V -d 'version'
complete -c dlm_tool -n '__dlm_tool_is ls run run_start' -s n -d 'all nodes'
complete -c dlm_tool -n '__dlm_tool_is join joinleave' -s m -x -d 'mode of the lockspace\'s device, octal'
complete -c dlm_tool -n '__dlm_tool_is join joinleave' -s e -x -a '0 1' -d 'the lockspace must not exist'
complete -c dlm_tool -n '__dlm_tool_is join joinleave' -s f -x -a '0 1' -d 'the lockspace is a file system\'s'
complete -c dlm_tool -n '__dlm_tool_is status lockdebug' -s v -d 'verbose'
complete -c dlm_tool -n '__dlm_tool_is lockdebug' -s w -d 'no line breaks'
complete -c dlm_tool -n '__dlm_tool_is lockdebug' -s s -d 'summary'
complete -c dlm_tool -n '__dlm_tool_is run run_check' -s i -x -d 'wait for the result'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null; or __dlm_tool_is explain check history ls status dump plocks log_plock lockdebug lockdump dump_config run_list' -l json -d 'for programs'
complete -c dlm_tool -n 'not __dlm_tool_command >/dev/null' -l help -d 'usage of all commands'
