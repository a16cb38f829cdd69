#!/usr/bin/env bash
# Makes the Debian package target/debian/menshen_VERSION_ARCH.deb of a program, by default of the release build.
# What follows the program goes to cargo-deb, such as -o for another place.
set -euo pipefail
cd "$(dirname "$0")/.."

# Without it cargo-deb makes a package that depends on no C library, and only warns.
command -v dpkg-shlibdeps > /dev/null || { echo "deb: needs dpkg-shlibdeps, of the package dpkg-dev" >&2 && exit 1; }

program=${1:-}
[ $# -gt 0 ] && shift
if [ -z "$program" ]; then
  cargo build --locked --release --bin menshen --target-dir target
  program=target/release/menshen
fi

packaging/stage.sh "$program"
"$(packaging/cargo-deb.sh)" --no-build --no-strip --no-dbgsym --locked --offline "$@"
