#!/usr/bin/env bash
# Prints where cargo-deb is, and installs it first where it is not there in the version that is used here.
set -euo pipefail
cd "$(dirname "$0")/.."

version=3.8.0

# Installed tools outlive `cargo clean` where there is a home to keep them in, as in .ci/run.
tools=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
tools=${tools:+$tools/menshen-tools}
if [ -z "$tools" ] || ! mkdir -p "$tools" 2> /dev/null || ! [ -w "$tools" ]; then
  tools=$PWD/target/tools
fi
if [ "$("$tools/bin/cargo-deb" --version 2> /dev/null)" != "cargo-deb $version" ]; then
  # Unoptimised, it is there in half the time and takes no longer for a package.
  env -u CARGO_TARGET_DIR cargo install cargo-deb --locked --debug --version $version --root "$tools" >&2
fi
echo "$tools/bin/cargo-deb"
