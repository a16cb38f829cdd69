#!/usr/bin/env bash
# Runs outside suites against Menshen and prints what README.md keeps: run.sh [desync|tokens|slow|answers|http2|sockets]…
# Suites and tools are installed below target/conformance; slowhttptest is a package of Debian.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=tests/conformance
tools=$PWD/target/conformance
pyjwt=2.15.1 http_desync_guardian=0.1.3
autobahn=25.10.1 autobahn_sha256=b083d6e15330fc16f3e5f0975cce2b15f21bfa0c6db09547316b1852c6dbd6df

main() {
  install
  cargo build --quiet --locked --bin menshen
  local binary failed=0 suite
  binary=$(cargo metadata --locked --no-deps --format-version 1 |
    "$tools/venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/debug/menshen
  [ $# -gt 0 ] || set -- desync tokens slow answers http2 sockets
  for suite; do
    echo "## $suite"
    case $suite in
      desync) play desync.py "$binary" "$(corpus)" || failed=1 ;;
      tokens) play tokens.py "$binary" "$tools/pyjwt-$pyjwt" || failed=1 ;;
      slow) play slow.py "$binary" || failed=1 ;;
      answers) play answers.py "$binary" || failed=1 ;;
      http2) play http2.py "$binary" || failed=1 ;;
      sockets) autobahn && play sockets.py "$binary" "$tools/autobahn" || failed=1 ;;
      *) echo "usage: $0 [desync|tokens|slow|answers|http2|sockets]…" >&2 && exit 2 ;;
    esac
  done
  return $failed
}

play() {
  PYTHONDONTWRITEBYTECODE=1 "$tools/venv/bin/python" "$here/$1" "${@:2}"
}

install() {
  mkdir -p "$tools"
  if ! cmp -s $here/requirements.txt "$tools/installed"; then
    rm -rf "$tools/venv" && python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --requirement $here/requirements.txt
    cp $here/requirements.txt "$tools/installed"
  fi
  if [ ! -d "$tools/pyjwt-$pyjwt" ]; then
    # Its tests are in the source archive only.
    "$tools/venv/bin/pip" download --quiet --no-deps --no-binary :all: --dest "$tools" "PyJWT==$pyjwt"
    tar -xzf "$tools/pyjwt-$pyjwt.tar.gz" -C "$tools"
  fi
  if [ ! -f "$tools/corpus/Cargo.toml" ]; then
    # A crate's archive comes through cargo when another one wants it; nothing of it is built.
    mkdir -p "$tools/corpus" && touch "$tools/corpus/lib.rs"
    cat > "$tools/corpus/Cargo.toml" << TOML
[package]
name = "corpus"
version = "0.0.0"
edition = "2024"
[lib]
path = "lib.rs"
[dependencies]
http_desync_guardian = "=$http_desync_guardian"
[workspace]
TOML
  fi
  if ! command -v slowhttptest > /dev/null; then
    echo "conformance: slowhttptest is missing: as root, run apt-get install slowhttptest" >&2
  fi
}

corpus() {
  local manifest=$tools/corpus/Cargo.toml
  cargo fetch --quiet --manifest-path "$manifest" >&2
  cargo metadata --format-version 1 --manifest-path "$manifest" | "$tools/venv/bin/python" -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
found = next(p for p in packages if p["name"] == "http_desync_guardian")
print(os.path.join(os.path.dirname(found["manifest_path"]), "tests"))'
}

# Autobahn's test suite is written in Python 2: what its archive holds is copied in Python 3, and not installed.
autobahn() {
  local archive=$tools/autobahntestsuite-$autobahn.tar.gz copy=$tools/autobahn
  cmp -s $here/python2.py "$copy/by" && return
  rm -rf "$copy" "${archive%.tar.gz}" && mkdir "$copy" &&
    "$tools/venv/bin/pip" download --quiet --no-deps --no-binary :all: --dest "$tools" "autobahntestsuite==$autobahn" &&
    echo "$autobahn_sha256  $archive" | sha256sum --check --quiet &&
    tar -xzf "$archive" -C "$tools" &&
    play python2.py "${archive%.tar.gz}/autobahntestsuite" "$copy/autobahntestsuite" &&
    cp $here/python2.py "$copy/by"
}

main "$@"
