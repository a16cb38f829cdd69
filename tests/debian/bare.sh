# shellcheck shell=bash
# A Debian that has nothing but what it comes with and a Rust toolchain, for the scripts beside this one: they source it in the folder of
# the repository, and call `in_namespace "$@"` first. Needs root and `make test-deps`.

repository=$PWD base=$PWD/target/test-backends/debian/root
roots=()
cargo=${CARGO_HOME:-$HOME/.cargo} rustup=${RUSTUP_HOME:-$HOME/.rustup}

# Starts the script again where what is mounted goes with it, whatever happens.
in_namespace() {
  [ "$(id -u)" = 0 ] || { echo "only root can make another root" >&2 && exit 1; }
  [ -d "$base" ] || { echo "there is no Debian to begin with: make test-deps" >&2 && exit 1; }
  if [ "${IN_NAMESPACE:-}" != 1 ]; then
    exec env IN_NAMESPACE=1 unshare --mount "$repository/tests/debian/$(basename "$0")" "$@"
  fi
  trap clean_up EXIT
}

# Makes an empty root, in which the repository and the Rust toolchain are where they are here.
bare() {
  local work
  work=$(mktemp -d)
  roots+=("$work")
  mount -t tmpfs tmpfs "$work"
  mkdir "$work"/{upper,work,root}
  root=$work/root
  mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" "$root"
  local path
  for path in /proc /dev "$repository" "$cargo" "$rustup"; do
    mkdir -p "$root$path"
    mount --rbind "$path" "$root$path"
  done
  # Names and authorities are those of this machine, which may be behind a proxy of its own.
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  within "apt-get update -qq"
}

clean_up() {
  local work
  for work in "${roots[@]}"; do
    umount --lazy "$work" && rmdir "$work"
  done
}

# Prints a block of code of a page, by its language and its number.
block_of() {
  awk -v fence="\`\`\`$2" -v wanted="$3" \
    '/^```/ { if (inside) inside = 0; else if ($0 == fence) { count++; inside = count == wanted; next } } inside' "$1"
}

# Runs shell in the root.
within() {
  local command
  command_for "$1"
  "${command[@]}"
}

# Sets `command` to what runs shell in the root, in `folder` or else in that of the repository.
command_for() {
  local fast=()
  if [ "${FAST:-}" = 1 ]; then
    fast=(CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=0)
  fi
  # Nothing has booted here, so a unit is enabled and not started: tests/program/package.rs starts it.
  local sudo='sudo() { local word words=(); for word; do [ "$word" = --now ] || words+=("$word"); done; "${words[@]}"; }'
  command=(env -i PATH="$cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root DEBIAN_FRONTEND=noninteractive
    CARGO_HOME="$cargo" RUSTUP_HOME="$rustup" CARGO_INSTALL_ROOT=/usr/local "${fast[@]}"
    chroot "$root" bash -ec "cd ${folder:-$repository}; $sudo; $1")
}
