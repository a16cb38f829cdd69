#!/usr/bin/env bash
# Follows docs/en/install.md (or, given zh, docs/zh/install.md) word by word in a Debian that has nothing but what it comes with and a
# Rust toolchain: from source, then as a package. Needs root and `make test-deps`, and builds a release: minutes. With FAST=1 the
# release is built without optimisation, which is enough to see that the way leads there.
#
# The image is not built here, for want of an engine: tests/program/image.rs runs what it consists of.
set -euo pipefail
cd "$(dirname "$0")/../.."

page=docs/${1:-en}/install.md
repository=$PWD base=$PWD/target/test-backends/debian/root
roots=()
cargo=${CARGO_HOME:-$HOME/.cargo} rustup=${RUSTUP_HOME:-$HOME/.rustup}

main() {
  [ "$(id -u)" = 0 ] || { echo "install: only root can make another root" >&2 && exit 1; }
  if [ "${IN_NAMESPACE:-}" != 1 ]; then
    # What is mounted goes with the namespace, whatever happens.
    exec env IN_NAMESPACE=1 unshare --mount "$repository/tests/debian/install.sh" "$@"
  fi
  trap clean_up EXIT
  # Each way begins with nothing, so that neither uses what the other installed.
  bare
  block 2
  bare
  within "apt-get install -qq -y make"
  block 1
  within "menshen --version && systemctl is-enabled menshen && dpkg -s menshen | grep '^Depends:.*libc6'"
  echo "install: $page leads there" >&2
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

# Runs a block of shell of the page, by its number.
block() {
  local text
  text=$(awk -v wanted="$1" '/^```/ { if (inside) inside = 0; else if ($0 == "```sh") { count++; inside = count == wanted; next } } inside' "$page")
  echo "install: $text" >&2
  within "$text"
}

within() {
  local fast=()
  if [ "${FAST:-}" = 1 ]; then
    fast=(CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=0)
  fi
  # Nothing has booted here, so a unit is enabled and not started: tests/program/package.rs starts it.
  local sudo='sudo() { local word words=(); for word; do [ "$word" = --now ] || words+=("$word"); done; "${words[@]}"; }'
  env -i PATH="$cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root DEBIAN_FRONTEND=noninteractive \
    CARGO_HOME="$cargo" RUSTUP_HOME="$rustup" CARGO_INSTALL_ROOT=/usr/local "${fast[@]}" \
    chroot "$root" bash -ec "cd $repository; $sudo; $1"
}

main "$@"
