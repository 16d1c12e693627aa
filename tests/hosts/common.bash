# shellcheck shell=bash
# What the scripts beside this file share. Source it; it does nothing by itself.

hosts_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
clone=$(cd "$hosts_dir/../.." && pwd)
hosts_cache=$clone/.cache/hosts
hosts_key=$hosts_cache/id_ed25519

# Every container carries the clone that made it, so that one clone never removes what belongs to another.
# shellcheck disable=SC2034  # used by those who source this
label_clone=paddock.fastapi.clone

podman() { "$hosts_dir/here" podman "$@"; }

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

usage() { # the first paragraph of the script's comment
    sed -n '2,/^#\?$/ { s/^# \?//; /^$/d; p }' "$0" >&2
    exit 2
}

container() { printf 'paddock-%s' "$1"; }

remove() { # CONTAINER...: whether they are there or not
    # A container whose processes were killed from outside is noticed by the first try, and gone after the second.
    podman rm --force --time 0 --volumes --ignore "$@" >/dev/null 2>&1 ||
        podman rm --force --time 0 --volumes --ignore "$@" >/dev/null
}

# One exec that waits inside is far quicker than many that ask from outside.
# shellcheck disable=SC2016  # expanded in the container
until_booted='
    deadline=$(($(date +%s) + 180)) # at first there is no bus to ask
    until state=$(timeout 60 systemctl is-system-running --wait 2>/dev/null); [ "$state" = running ]; do
        if [ "$state" = degraded ] || [ "$(date +%s)" -gt "$deadline" ]; then
            echo "systemd is ${state:-not answering}"
            systemctl --no-pager --no-legend --failed
            systemctl --no-pager --no-legend list-jobs
            exit 1
        fi
        sleep 0.1
    done'

wait_for_boot() { # CONTAINER
    local trouble
    trouble=$(timeout 300 "$hosts_dir/here" podman exec "$1" sh -c "$until_booted" 2>&1) ||
        die "$1 did not boot: ${trouble:-Podman lets nobody in}"
}

with_lock() { # FILE CMD...: one caller at a time; CMD's children must not inherit the lock, so CMD gets no descriptor
    local file=$1
    shift
    mkdir -p "$(dirname "$file")"
    flock --close "$file" "$@"
}

make_key() { # the key pair by which this clone reaches its hosts
    [[ ! -s $hosts_key.pub ]] || return 0
    mkdir -p "$hosts_cache"
    # shellcheck disable=SC2016  # expanded by the inner shell
    with_lock "$hosts_cache/lock" bash -c \
        '[[ -s $1.pub ]] || ssh-keygen -q -t ed25519 -N "" -C paddock.fastapi -f "$1"' bash "$hosts_key" </dev/null
}
