# What is done on a host, as root. kitsune(1) puts the values that are wanted in front of it, then
# calls one of its functions; what they print as "key=value" goes back. POSIX sh; needs nothing that
# a small system lacks.
#
# A change is made so that it can be taken back: `keep` puts the present state of a file into $undo
# before it is touched, once, however often an interrupted run is begun again; `put_back` restores
# all of it; `settle` forgets it when the orchestrator has seen the agent.
#
# shellcheck shell=sh
# shellcheck disable=SC2154 # want_...: put in front
set -eu
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
umask 077
# A connection that breaks off must not leave things half-done.
trap '' HUP

state=/var/lib/kitsune-agent
work=$state/install
undo=$work/undo
unit=kitsune-agent.service
conf=/etc/kitsune/agent.conf
token=$state/enrol-token
own_unit=/etc/systemd/system/$unit
own_binary=/usr/local/sbin/kitsune-agent
packaged_binary=/usr/sbin/kitsune-agent

say() {
    printf '%s=%s\n' "$1" "$2"
}

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

sum_of() {
    if [ -f "$1" ]; then
        set -- "$(sha256sum <"$1")"
        printf '%s' "${1%% *}"
    fi
}

has() {
    command -v "$1" >/dev/null 2>&1
}

has_systemd() {
    [ -d /run/systemd/system ]
}

# "deb 1.2.3", "rpm 1.2.3-1", or nothing.
package_installed() {
    if has dpkg-query; then
        # shellcheck disable=SC2016 # dpkg's own variables
        dpkg-query -W -f '${db:Status-Status} ${Version}\n' kitsune-agent 2>/dev/null |
            sed -n 's/^installed /deb /p'
    fi
    if has rpm; then
        rpm -q --qf 'rpm %{VERSION}-%{RELEASE}\n' kitsune-agent 2>/dev/null | sed -n '/^rpm /p'
    fi
}

# ---- What there is -------------------------------------------------------------------------------

probe() {
    say kernel "$(uname -s)"
    say machine "$(uname -m)"
    # shellcheck disable=SC1091 # the host's
    say os "$( (. /etc/os-release && printf '%s' "${PRETTY_NAME:-$ID}") 2>/dev/null || true)"
    if has_systemd; then say systemd yes; fi
    for tool in apt-get dpkg dnf yum rpm; do
        if has "$tool"; then say tool "$tool"; fi
    done
    say package "$(package_installed)"
    say own_binary "$(sum_of "$own_binary")"
    say packaged_binary "$(sum_of "$packaged_binary")"
    say own_unit "$(sum_of "$own_unit")"
    if [ -d "$undo" ]; then say unfinished yes; fi
    if [ -f "$work/installed" ]; then sed -n 's/^\(payload\|binary\) \([0-9a-f]*\)$/installed_\1=\2/p' "$work/installed"; fi
    # A key alone, without its certificate, is no identity yet.
    for file in "$state"/identity/*.pem; do
        if [ "${file##*/}" != ca.pem ] && grep -q 'BEGIN CERTIFICATE' "$file" 2>/dev/null; then
            file=${file##*/}
            say identity "${file%.pem}"
        fi
    done
    if has_systemd && systemctl is-active --quiet "$unit"; then say active yes; fi
    if has_systemd && systemctl is-enabled --quiet "$unit" 2>/dev/null; then say enabled yes; fi
    if [ -f "$conf" ]; then sed 's/^/conf=/' "$conf"; fi
}

# ---- The payload ---------------------------------------------------------------------------------

upload() {
    trap 'rm -f "$work/incoming"' EXIT
    mkdir -p "$work"
    cat >"$work/incoming"
    [ "$(sum_of "$work/incoming")" = "$want_payload" ] || fail "what arrived is not what was sent"
    mv "$work/incoming" "$work/payload"
    trap - EXIT
}

# ---- Taking back ---------------------------------------------------------------------------------

# keep NAME FILE
keep() {
    if [ -e "$undo/$1" ] || [ -e "$undo/$1.absent" ]; then return; fi
    if [ -e "$2" ]; then
        cp -p "$2" "$undo/$1.part"
        mv "$undo/$1.part" "$undo/$1"
    else
        : >"$undo/$1.absent"
    fi
}

# give_back NAME FILE
give_back() {
    if [ -e "$undo/$1" ]; then
        mkdir -p "${2%/*}"
        cp -p "$undo/$1" "$2.kitsune-new"
        mv "$2.kitsune-new" "$2"
    elif [ -e "$undo/$1.absent" ]; then
        rm -f "$2"
    fi
}

remove_package() {
    case $(package_installed) in
    deb*) dpkg -r kitsune-agent >/dev/null ;;
    rpm*) rpm -e kitsune-agent >/dev/null ;;
    esac
}

install_package() {
    case $1 in
    *.deb)
        if has apt-get; then
            DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --allow-downgrades \
                --reinstall -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef "$1" >/dev/null
        else
            dpkg --force-confold -i "$1" >/dev/null
        fi
        ;;
    *.rpm)
        if has dnf && ! rpm -q kitsune-agent >/dev/null 2>&1; then
            dnf install -y -q "$1" >/dev/null
        else
            rpm -U --oldpackage --replacepkgs "$1" >/dev/null
        fi
        ;;
    esac
}

# The package that was there before is installed again from the copy that its own installation left;
# without one, its program is, and the package database is then ahead of it.
put_package_back() {
    if [ ! -e "$undo/package" ]; then return; fi
    case $(cat "$undo/package") in
    none) remove_package ;;
    *)
        for file in "$work"/current.deb "$work"/current.rpm; do
            if [ -e "$file" ]; then install_package "$file"; fi
        done
        give_back packaged_binary "$packaged_binary"
        ;;
    esac
}

put_back() {
    [ -d "$undo" ] || return 0
    # Nothing is touched before all of it is kept.
    if [ ! -e "$undo/begun" ]; then
        rm -rf "$undo"
        return 0
    fi
    if has_systemd && [ ! -e "$undo/active" ]; then systemctl disable --now --quiet "$unit" 2>/dev/null || true; fi
    put_package_back
    give_back conf "$conf"
    give_back unit "$own_unit"
    give_back binary "$own_binary"
    give_back token "$token"
    if [ -e "$undo/user" ]; then remove_user; fi
    if [ -d "$undo/identity" ]; then
        rm -rf "$state/identity"
        mv "$undo/identity" "$state/identity"
    fi
    if has_systemd; then
        systemctl daemon-reload
        if [ -e "$undo/enabled" ]; then systemctl enable --quiet "$unit"; fi
        if [ -e "$undo/active" ]; then systemctl restart "$unit"; fi
    fi
    rm -rf "$undo"
}

begin() {
    mkdir -p "$undo"
    if [ -e "$undo/begun" ]; then return; fi
    rm -rf "${undo:?}"/*
    keep conf "$conf"
    keep unit "$own_unit"
    keep binary "$own_binary"
    keep packaged_binary "$packaged_binary"
    keep token "$token"
    if [ "${want_kind%% *}" != binary ]; then
        package=$(package_installed)
        printf '%s\n' "${package:-none}" >"$undo/package"
    fi
    if has_systemd; then
        if systemctl is-active --quiet "$unit"; then : >"$undo/active"; fi
        if systemctl is-enabled --quiet "$unit" 2>/dev/null; then : >"$undo/enabled"; fi
    fi
    sync -f "$undo" 2>/dev/null || sync
    : >"$undo/begun"
}

# ---- The change ----------------------------------------------------------------------------------

folder_of() {
    (umask 022 && mkdir -p "${1%/*}")
}

# put FILE MODE TEXT: whole or not at all.
put() {
    folder_of "$1"
    printf '%s' "$3" >"$1.kitsune-new"
    chmod "$2" "$1.kitsune-new"
    mv "$1.kitsune-new" "$1"
}

# The agent's side of the network runs as this user; without one it is nobody.
make_user() {
    if id kitsune-agent >/dev/null 2>&1; then return; fi
    : >"$undo/user"
    if has systemd-sysusers; then
        printf '%s' "$want_users" | systemd-sysusers - >/dev/null
    elif has useradd; then
        useradd --system --no-create-home --home-dir / --shell /usr/sbin/nologin kitsune-agent
    fi
}

remove_user() {
    if has userdel && id kitsune-agent >/dev/null 2>&1; then userdel kitsune-agent >/dev/null 2>&1 || true; fi
}

put_binary() {
    make_user
    folder_of "$own_binary"
    cp "$work/payload" "$own_binary.kitsune-new"
    chmod 755 "$own_binary.kitsune-new"
    said=$("$own_binary.kitsune-new" --version 2>&1) || {
        rm -f "$own_binary.kitsune-new"
        fail "the agent does not run here: $said"
    }
    mv "$own_binary.kitsune-new" "$own_binary"
}

put_payload() {
    case $want_kind in
    binary) put_binary ;;
    *)
        mv "$work/payload" "$work/new.$want_kind"
        install_package "$work/new.$want_kind"
        ;;
    esac
}

start_agent() {
    systemctl daemon-reload
    systemctl enable --quiet "$unit"
    systemctl restart "$unit"
}

apply() {
    trap 'put_back >&2' EXIT
    begin
    if [ -n "$want_upload" ]; then put_payload; fi
    if [ "$want_kind" = binary ]; then put "$own_unit" 644 "$want_unit"; fi
    put "$conf" 644 "$want_conf"
    if [ -n "$want_forget" ] && [ -d "$state/identity" ] && [ ! -e "$undo/identity" ]; then
        mv "$state/identity" "$undo/identity"
    fi
    if [ -n "$want_token" ]; then put "$token" 600 "$want_token"; fi
    if [ -n "$want_start" ]; then start_agent; fi
    trap - EXIT
}

# Why the agent is not seen, as far as its log tells; then all is taken back.
revert() {
    if has_systemd; then
        say state "$(systemctl is-active "$unit" || true)"
        journalctl -t kitsune-agent -n 3 -o cat --no-pager 2>/dev/null | sed 's/^/log=/' || true
    fi
    put_back >&2
    rm -f "$work/payload" "$work"/new.*
    rmdir "$work" "$state" 2>/dev/null || true
}

settle() {
    if [ -n "$want_upload" ]; then
        case $want_kind in
        binary)
            rm -f "$work/payload"
            now=$(sum_of "$own_binary")
            ;;
        *)
            rm -f "$work"/current.*
            mv "$work/new.$want_kind" "$work/current.$want_kind"
            now=$(sum_of "$packaged_binary")
            ;;
        esac
        put "$work/installed" 600 "payload $want_payload
binary $now
"
    fi
    rm -rf "$undo"
}

# ---- Away with it --------------------------------------------------------------------------------

uninstall() {
    if has_systemd; then systemctl disable --now --quiet "$unit" 2>/dev/null || true; fi
    case $(package_installed) in
    deb*) if [ -n "$want_purge" ]; then dpkg -P kitsune-agent >/dev/null; else dpkg -r kitsune-agent >/dev/null; fi ;;
    rpm*) rpm -e kitsune-agent >/dev/null ;;
    esac
    rm -f "$own_binary" "$own_unit" "$token"
    rm -rf "$work" "$state/identity"
    if has_systemd; then systemctl daemon-reload; fi
    if [ -n "$want_purge" ]; then
        remove_user
        rm -rf "$state"
        rm -f "$conf" "$conf.rpmsave"
        rmdir /etc/kitsune 2>/dev/null || true
    fi
}
