# `make dev` starts Menshen with everything it needs in one process; `make test` runs every test; `make install` installs the
# program with what belongs to it, `make package` makes a Debian package; `make bench` compares
# Menshen with other proxies and writes benches/README.md, `make bench-quick` prints the most telling part of it.
# All first install what this machine lacks (on Debian, as root or with sudo).

.PHONY: dev test package install pgo bench bench-quick bench-build deps package-deps test-deps bench-deps

peers := benches/peers/pingora

dev: deps
	cargo run --locked -- dev $(ARGS)

# Most tests wait more than they work.
test_threads := $(shell expr 3 \* $$(nproc))

test: test-deps
	cargo test --locked --no-fail-fast -- --test-threads $(test_threads)
	node --test tests/documents.test.mjs clients/mini-program/tests/*.test.mjs

# A Debian package, in target/debian, of the release build or of PROGRAM, such as target/pgo/menshen.
package: package-deps
	packaging/deb.sh $(PROGRAM)

# The program, its manual pages, completions, unit and configuration, without a package: below DESTDIR, for PREFIX.
PREFIX ?= /usr/local
CONFIG ?= /etc

install: deps
	cargo build --locked --release --bin menshen --target-dir target
	packaging/install.sh target/release/menshen "$(DESTDIR)" "$(PREFIX)" "$(CONFIG)"

# The release build with profile-guided optimisation, in target/pgo/menshen.
pgo:
	@tests/setup.sh pgo
	packaging/pgo.sh

bench: bench-build
	python3 benches/peers/run.py --write $(ARGS)

bench-quick: bench-build
	python3 benches/peers/run.py --quick $(ARGS)

bench-build: bench-deps
	cargo build --locked --release --bin menshen --target-dir target
	cargo build --locked --release --manifest-path $(peers)/Cargo.toml --target-dir $(peers)/target
	cargo build --locked --profile best --features mimalloc --manifest-path $(peers)/Cargo.toml --target-dir $(peers)/target

deps:
	@tests/setup.sh build

package-deps:
	@tests/setup.sh package

test-deps:
	@tests/setup.sh tests

bench-deps:
	@tests/setup.sh bench
