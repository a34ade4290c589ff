# bash completion for dlm_tool
# Generated from tools/src/commands.rs by tools/tests/completions.rs.

# Those of the words behind the first that begin with it. They are the daemon's: never to be expanded by the shell.
_dlm_tool_offer() {
    local word=$1 offered
    shift
    for offered; do
        [[ $offered == "$word"* ]] && COMPREPLY+=("$(printf %q "$offered")")
    done
}

_dlm_tool_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_dlm_tool() {
    local word=${COMP_WORDS[COMP_CWORD]} command='' at
    local -a found
    COMPREPLY=()
    case ${COMP_WORDS[COMP_CWORD - 1]} in
        -e | -f) _dlm_tool_offer "$word" 0 1; return ;;
        -m | -i) return ;;
    esac
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            explain | check | history | watch | ls | status | dump | plocks | log_plock | lockdebug | lockdump | dump_config | set_config | reload_config | fence_ack | join | leave | joinleave | deadlock_check | run | run_start | run_check | run_cancel | run_list | record | replay) command=${COMP_WORDS[at]}; break ;;
        esac
    done
    if [[ $word == -* ]]; then
        case $command in
            '') _dlm_tool_offer "$word" -M -h -V -n -m -e -f -v -w -s -i --json --help ;;
            explain) _dlm_tool_offer "$word" --json ;;
            check) _dlm_tool_offer "$word" --json ;;
            history) _dlm_tool_offer "$word" --json ;;
            ls) _dlm_tool_offer "$word" -n --json ;;
            status) _dlm_tool_offer "$word" -v --json ;;
            dump) _dlm_tool_offer "$word" --json ;;
            plocks) _dlm_tool_offer "$word" --json ;;
            log_plock) _dlm_tool_offer "$word" --json ;;
            lockdebug) _dlm_tool_offer "$word" -v -w -s --json ;;
            lockdump) _dlm_tool_offer "$word" -M --json ;;
            dump_config) _dlm_tool_offer "$word" --json ;;
            join) _dlm_tool_offer "$word" -e -f -m ;;
            joinleave) _dlm_tool_offer "$word" -e -f -m ;;
            run) _dlm_tool_offer "$word" -n -i ;;
            run_start) _dlm_tool_offer "$word" -n ;;
            run_check) _dlm_tool_offer "$word" -i ;;
            run_list) _dlm_tool_offer "$word" --json ;;
        esac
        return
    fi
    case $command in
        '') _dlm_tool_offer "$word" explain check history watch ls status dump plocks log_plock lockdebug lockdump dump_config set_config reload_config fence_ack join leave joinleave deadlock_check run run_start run_check run_cancel run_list record replay ;;
        explain | check | history | ls | plocks | lockdebug | lockdump | leave | deadlock_check)
            mapfile -t found < <(dlm_tool ls 2>/dev/null | sed -n 's/^name  *//p')
            _dlm_tool_offer "$word" "${found[@]}"
            ;;
        fence_ack)
            mapfile -t found < <(dlm_tool status 2>/dev/null | sed -n 's/^fence \([0-9]*\) .*/\1/p')
            _dlm_tool_offer "$word" "${found[@]}"
            ;;
        set_config)
            mapfile -t found < <(dlm_tool dump_config 2>/dev/null | sed -n 's/^\([a-z_]*\)=.*/\1=/p')
            _dlm_tool_offer "$word" "${found[@]}"; compopt -o nospace 2>/dev/null
            ;;
        run_check | run_cancel)
            mapfile -t found < <(dlm_tool run_list 2>/dev/null | sed -n 's/^run_uuid \([^ ]*\) .*/\1/p')
            _dlm_tool_offer "$word" "${found[@]}"
            ;;
        run | run_start)
            mapfile -t found < <(printf '%s\n' lvm lvs lvchange)
            _dlm_tool_offer "$word" "${found[@]}"
            ;;
        replay) _dlm_tool_files "$word" ;;
        record)
            if ((at == COMP_CWORD - 1)); then _dlm_tool_offer "$word" save; else _dlm_tool_files "$word"; fi
            ;;
    esac
}

complete -F _dlm_tool dlm_tool
