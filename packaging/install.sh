#!/usr/bin/env bash
# Installs a program with its manual pages, completions, unit and configuration; what is configured already stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:?usage: packaging/install.sh PROGRAM DESTDIR PREFIX CONFIG} destdir=${2-} prefix=${3:-/usr/local} config=${4:-/etc}
stage=target/package

put() {
  install -D -m "$1" "$2" "$destdir$3"
}

packaging/stage.sh "$program"
put 755 $stage/menshen "$prefix/bin/menshen"
for page in "$stage"/man/*.1; do
  put 644 "$page" "$prefix/share/man/man1/${page##*/}"
done
put 644 $stage/completions/menshen.bash "$prefix/share/bash-completion/completions/menshen"
put 644 $stage/completions/_menshen "$prefix/share/zsh/site-functions/_menshen"
put 644 $stage/completions/menshen.fish "$prefix/share/fish/vendor_completions.d/menshen.fish"
sed -e "s|/usr/bin/menshen|$prefix/bin/menshen|g" -e "s|/etc/menshen|$config/menshen|g" packaging/menshen.service > $stage/menshen.service
put 644 $stage/menshen.service "$prefix/lib/systemd/system/menshen.service"
[ -e "$destdir$config/menshen/menshen.toml" ] || put 644 $stage/menshen.toml "$config/menshen/menshen.toml"
