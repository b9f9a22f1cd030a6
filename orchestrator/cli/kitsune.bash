# bash completion for kitsune(1)

_kitsune()
{
    # What each command takes, beyond what all take. PLAN, TYPE and COMMAND are kinds of arguments.
    local -A takes=(
        [validate]="PLAN"
        [preview]="PLAN --all"
        [simulate]="PLAN --fail --unreachable --seed --step-time"
        [submit]="PLAN --id --watch --no-wait --require-undo --check"
        [list]="--limit --all"
        [show]="--server --state --all"
        [watch]=""
        [events]="--follow --after"
        [logs]="--server --step --follow"
        [pause]="--reason"
        [resume]="--reason"
        [cancel]="--now --rollback --reason"
        [rollback]="--server --force --now --reason --watch"
        [retry]="--id --watch --no-wait"
        [resolve]="--as --reason"
        [lock]="--reason"
        [unlock]=""
        [servers]="--limit --all --label"
        [server]=""
        [login]="--ca-fingerprint"
        [whoami]=""
        [token create]="--role --ttl --servers --steps --out"
        [token list]=""
        [token revoke]=""
        [agent ticket]="--ttl --replace --out"
        [agent list]="--limit --all"
        [agent revoke]="--reason"
        [agent install]="HOST --inventory --group --ssh-config --accept-new --parallel --dry-run --package --binary --agent-url --timeout --no-start --replace"
        [agent upgrade]="HOST --inventory --group --ssh-config --accept-new --parallel --dry-run --package --binary --agent-url --timeout --no-start --replace"
        [agent uninstall]="HOST --inventory --group --ssh-config --accept-new --parallel --dry-run --purge --replace"
        [artifact put]="FILE --name"
        [artifact list]=""
        [artifact get]="FILE --force"
        [artifact delete]=""
        [audit list]="--after --limit --all"
        [audit verify]="--head"
        [backup]="FILE --force"
        [key new]="FILE"
        [key show]="FILE"
        [sign]="PLAN --key --expires --not-before --anew --out"
        [verify]="PLAN --trusted-keys"
        [handlers]="TYPE"
        [schema]=""
        [version]=""
        [help]="COMMAND"
    )
    local states="pending queued running succeeded failed timed_out unreachable unknown cancelled
        skipped rolling_back rolled_back rollback_failed"
    local common="--output --orchestrator --ca --token-file --help --version"
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command="" group="" word
    local i words=""

    case $prev in
    -o | --output)
        mapfile -t COMPREPLY < <(compgen -W "table json" -- "$cur")
        return
        ;;
    --state)
        mapfile -t COMPREPLY < <(compgen -W "$states" -- "$cur")
        return
        ;;
    --as)
        mapfile -t COMPREPLY < <(compgen -W "succeeded failed rolled_back" -- "$cur")
        return
        ;;
    --role)
        mapfile -t COMPREPLY < <(compgen -W "viewer operator admin" -- "$cur")
        return
        ;;
    --ca | --token-file | --out | --key | --trusted-keys | --inventory | -i | --ssh-config | -F | \
        --package | --binary)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --steps)
        mapfile -t COMPREPLY < <(compgen -W \
            "$(kitsune handlers 2>/dev/null | awk 'NR > 1 && /^[a-z]/ { print $1 }')" -- "$cur")
        return
        ;;
    --orchestrator | --id | --expires | --not-before | --limit | --server | --step | --after | --reason | \
        --ca-fingerprint | --name | --ttl | --servers | --head | --label | --group | --parallel | --agent-url | --timeout | \
        --fail | --unreachable | --seed | --step-time | -n | -s | -m)
        COMPREPLY=()
        return
        ;;
    esac

    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        [[ $word == -* ]] && continue
        # A command is one word, or two: "token create".
        if [[ -n ${takes[${group:+$group }$word]+known} ]]; then
            command="${group:+$group }$word"
            break
        fi
        [[ -z $group && " ${!takes[*]} " == *" $word "* ]] && group=$word
    done

    if [[ -z $command ]]; then
        for word in "${!takes[@]}"; do
            if [[ -z $group ]]; then
                words+=" ${word%% *}"
            elif [[ $word == "$group "* ]]; then
                words+=" ${word#* }"
            fi
        done
        mapfile -t COMPREPLY < <(compgen -W "$words $common" -- "$cur" | sort -u)
        return
    fi
    for word in ${takes[$command]}; do
        case $word in
        PLAN | FILE)
            if [[ $cur != -* ]]; then
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                return
            fi
            ;;
        TYPE) words+=" $(kitsune handlers 2>/dev/null | awk 'NR > 1 && /^[a-z]/ { print $1 }')" ;;
        COMMAND) words+=" ${!takes[*]}" ;;
        HOST) words+=" $(compgen -A hostname)" ;;
        *) words+=" $word" ;;
        esac
    done
    mapfile -t COMPREPLY < <(compgen -W "$words $common" -- "$cur")
}
complete -F _kitsune kitsune
