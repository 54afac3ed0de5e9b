# What a person or a machine does with this tree: `make help` lists it. Recipes call cargo, debhelper and rpmbuild;
# what is installed where is said in one place, `install`, and both packages are made from it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
# How the programs are built: release, or dev for a quick package while working on it.
PROFILE ?= release
RELEASE := $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
MADE := $(TARGET)/made
DIST := $(CURDIR)/dist

# Where a program was built is not told in it, and a package carries the time of its changelog: two builds of one tree
# are the same bytes. The quick package shares what was compiled for the tests, which name files where they are.
REMAP ?= $(if $(filter dev,$(PROFILE)),,yes)
MOVED := $(CURDIR)=/deployd $(TARGET)=/deployd/target $(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo
export SOURCE_DATE_EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell \
  date -u -d "$$(sed -n 's/^ -- .*>  //p' packaging/debian/changelog | head -n1)" +%s))
ifneq ($(REMAP),)
build: export RUSTFLAGS := $(RUSTFLAGS) $(MOVED:%=--remap-path-prefix=%)
build: export CFLAGS := $(CFLAGS) $(MOVED:%=-ffile-prefix-map=%)
endif

# Tools that only `make deny` and `make sbom` want, and install when they are called.
CARGO_DENY := 0.20.2
CARGO_CYCLONEDX := 0.5.9

DESTDIR ?=
PREFIX ?= /usr
# Units name /usr/libexec/deployd and systemd reads /usr/lib: another PREFIX moves only what people look at.
BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
DOCDIR ?= $(DATADIR)/doc/deployd
ZSHDIR ?= $(DATADIR)/zsh/site-functions
LIBEXECDIR := /usr/libexec/deployd
SYSTEMDDIR := /usr/lib/systemd

.PHONY: help build install install-deployd install-webhook deb rpm reproducible deny sbom demo check check-fast check-supply check-runtimes check-safety check-safety-short safety power fuzz bench lint deps clean

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

build: ## Build the programs and the shell completions
	cargo build --profile $(PROFILE) --locked --bins
	mkdir -p $(MADE)
	@for shell in bash zsh fish; do $(RELEASE)/deployctl completions $$shell > $(MADE)/deployctl.$$shell; done

put = @install -D -m 0644 $(1) $(DESTDIR)$(2)
put_all = @for file in $(1); do install -D -m 0644 -t $(DESTDIR)$(2) $$file; done
# The receiver of webhooks is a package of its own: what has this name is its, all else is deployd's.
of_deployd = $(foreach file,$(wildcard $(1)),$(if $(findstring -webhook,$(file)),,$(file)))
of_webhook = $(foreach file,$(wildcard $(1)),$(if $(findstring -webhook,$(file)),$(file)))
put_deployds = $(call put_all,$(call of_deployd,$(1)),$(2))
put_webhooks = $(call put_all,$(call of_webhook,$(1)),$(2))
UNITS := units/*.service units/*.socket units/*.target units/*.timer units/*.slice

install: install-deployd install-webhook ## Install what was built: DESTDIR=, PREFIX=/usr

install-deployd:
	install -D -m 0755 -t $(DESTDIR)$(BINDIR) $(RELEASE)/deployctl
	install -D -m 0755 -t $(DESTDIR)$(LIBEXECDIR) $(RELEASE)/deployd $(RELEASE)/deploy-engine
	install -d $(DESTDIR)$(SYSTEMDDIR)/system-generators $(DESTDIR)/etc/deployd/apps
	ln -sf ../../../libexec/deployd/deploy-engine $(DESTDIR)$(SYSTEMDDIR)/system-generators/deployd-generator
	$(call put_deployds,$(UNITS),$(SYSTEMDDIR)/system)
	$(call put_deployds,units/*.preset,$(SYSTEMDDIR)/system-preset)
	$(call put_deployds,units/*.catalog,$(SYSTEMDDIR)/catalog)
	$(call put_deployds,units/sysusers.d/*.conf,/usr/lib/sysusers.d)
	$(call put_deployds,units/tmpfiles.d/*.conf,/usr/lib/tmpfiles.d)
	$(call put_deployds,dbus/*.conf,/usr/share/dbus-1/system.d)
	$(call put_deployds,dbus/*.service,/usr/share/dbus-1/system-services)
	$(call put_deployds,dbus/*.xml,/usr/share/dbus-1/interfaces)
	$(call put_deployds,dbus/*.policy,/usr/share/polkit-1/actions)
	$(call put_deployds,dbus/org.*.rules,/usr/share/polkit-1/rules.d)
	$(call put_all,$(wildcard packaging/probe/*),/usr/share/deployd/probe)
	$(call put_all,$(wildcard packaging/ssh/*),/usr/share/deployd/ssh)
	$(call put_all,$(wildcard packaging/octane/*),/usr/share/deployd/octane)
	$(call put_all,packaging/nginx/deployd-php.conf packaging/nginx/deployd-proxy.conf packaging/nginx/deployd-upstream.conf,/etc/nginx/snippets)
	$(call put_all,packaging/nginx/deployd-upstreams.conf,/etc/nginx/conf.d)
	$(call put_all,$(wildcard packaging/queue/*),/usr/share/deployd/queue)
	$(call put_all,$(wildcard packaging/nginx/example-*.conf packaging/examples/*.toml) dbus/examples.rules,$(DOCDIR)/examples)
	$(call put_all,packaging/ci/README.md,$(DOCDIR)/examples/ci)
	$(call put_all,$(wildcard packaging/ci/github/*),$(DOCDIR)/examples/ci/github)
	$(call put_all,$(wildcard packaging/ci/gitlab/*),$(DOCDIR)/examples/ci/gitlab)
	$(call put_all,README.md CHANGELOG.md,$(DOCDIR))
	$(call put_deployds,man/*.1,$(MANDIR)/man1)
	$(call put_deployds,man/*.5,$(MANDIR)/man5)
	$(call put_deployds,man/*.7,$(MANDIR)/man7)
	$(call put_deployds,man/*.8,$(MANDIR)/man8)
	$(call put,$(MADE)/deployctl.bash,$(DATADIR)/bash-completion/completions/deployctl)
	$(call put,$(MADE)/deployctl.zsh,$(ZSHDIR)/_deployctl)
	$(call put,$(MADE)/deployctl.fish,$(DATADIR)/fish/vendor_completions.d/deployctl.fish)

install-webhook:
	install -D -m 0755 -t $(DESTDIR)$(LIBEXECDIR) $(RELEASE)/deployd-webhook
	$(call put_webhooks,$(UNITS),$(SYSTEMDDIR)/system)
	$(call put_webhooks,units/*.preset,$(SYSTEMDDIR)/system-preset)
	$(call put_webhooks,units/sysusers.d/*.conf,/usr/lib/sysusers.d)
	$(call put_webhooks,units/tmpfiles.d/*.conf,/usr/lib/tmpfiles.d)
	$(call put_webhooks,dbus/*.rules,/usr/share/polkit-1/rules.d)
	$(call put_webhooks,man/*.8,$(MANDIR)/man8)

# The Debian tree is made below the target directory, so that the source stays as it is.
deb: ## Build dist/deployd_*.deb and dist/deployd-webhook_*.deb
	@$(MAKE) deps WHAT=deb
	@$(MAKE) build
	rm -rf $(TARGET)/deb && mkdir -p $(TARGET)/deb/deployd $(DIST)
	cp -a packaging/debian $(TARGET)/deb/deployd/debian
	cd $(TARGET)/deb/deployd && DEPLOYD_BUILT=yes DEPLOYD_SRC=$(CURDIR) DEB_BUILD_OPTIONS="noautodbgsym $${DEB_BUILD_OPTIONS:-}" \
	  dpkg-buildpackage -b -us -uc -d
	rm -f $(DIST)/deployd_*.deb $(DIST)/deployd-webhook_*.deb
	cp $(TARGET)/deb/deployd_$(VERSION)_*.deb $(TARGET)/deb/deployd-webhook_$(VERSION)_*.deb $(DIST)/

# Debian's rpm has none of systemd's macros; macros.systemd-compat holds the few that the spec uses.
rpm: ## Build dist/deployd-*.rpm and dist/deployd-webhook-*.rpm
	@$(MAKE) deps WHAT=rpm
	@$(MAKE) build
	rm -rf $(TARGET)/rpm && mkdir -p $(TARGET)/rpm $(DIST)
	rpmbuild -bb --quiet --nodeps \
	  $(if $(wildcard /usr/lib/rpm/macros.d/macros.systemd),,--load=packaging/rpm/macros.systemd-compat) \
	  --define "_topdir $(TARGET)/rpm" --define "deployd_src $(CURDIR)" --define "deployd_version $(VERSION)" \
	  packaging/rpm/deployd.spec
	rm -f $(DIST)/deployd-*.rpm
	cp $(TARGET)/rpm/RPMS/*/deployd-$(VERSION)-*.rpm $(TARGET)/rpm/RPMS/*/deployd-webhook-$(VERSION)-*.rpm $(DIST)/

# A release takes some ten minutes for each of the two.
reproducible: ## Build the packages twice, in two places, and compare their bytes (PROFILE=dev for a quick proof)
	@packaging/reproducible $(TARGET)/reproducible $(PROFILE)

demo: ## Boot a host in a container, deploy a Laravel app twice and roll back, under load
	@$(MAKE) deps WHAT=host
	@$(MAKE) deb > $(TARGET)/demo-deb.log 2>&1 || { cat $(TARGET)/demo-deb.log; exit 1; }
	@DEPLOYD_DEB=$$(ls $(DIST)/deployd_$(VERSION)_*.deb) cargo run --quiet --locked --example demo

check: ## Everything CI checks: format, lints, unit, tree, bus and host tests
	@echo "== what is needed"
	@$(MAKE) deps WHAT=host
	@echo "== format and lints"
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@echo "== the crates: licences, duplicates, sources"
	@if command -v cargo-deny >/dev/null; then cargo deny --locked --offline check licenses bans sources; \
	  else echo "not looked at: cargo-deny is not installed, make check-supply does that"; fi
	@echo "== the packages, which the host tests install"
	$(MAKE) deb rpm
	@echo "== the engine and the worker ended at 60 of their system calls, chosen by the commit; the power cut four times"
	@DEPLOYD_DEB=$$(ls $(DIST)/deployd_$(VERSION)_*.deb) $(MAKE) check-safety-short
	@echo "== unit, tree, bus and host tests"
	DEPLOYD_DEB=$$(ls $(DIST)/deployd_$(VERSION)_*.deb) DEPLOYD_RPM=$$(ls $(DIST)/deployd-$(VERSION)-*.rpm) \
	  cargo test --locked --no-fail-fast

check-fast: ## Format, lints and the tests that boot no host
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --lib --bins --test layering --test packaging --test promises

# A row of what was already tried on the same tree is not tried again; SHARD=i/n takes a part.
check-safety: ## End and fail the engine at every system call, cut the power, race and flood it; some hours
	@$(MAKE) deps WHAT=host
	@$(MAKE) safety power WORDS=
	DEPLOYD_ATTACK=long cargo test --locked --lib -- --nocapture no_request_ends_the_receiver
	DEPLOYD_ATTACK=long cargo test --locked --test host -- --nocapture --test-threads=2 races bus_attack callers \
	  endurance large load::deployments

# Side by side: one waits for a host much of the time, the other has a processor's worth of an emulated machine.
check-safety-short: ## The same at 60 points, chosen by the commit, and four power cuts
	@$(MAKE) --jobs=2 safety power WORDS=short

safety:
	cargo build --locked --example crash-at
	cargo bench --locked --profile dev --bench safety -- $(WORDS)

power:
	@$(MAKE) deps WHAT=power
	cargo build --locked --example crash-at
	cargo bench --locked --profile dev --bench power -- $(WORDS)

# Of each parser, without a sanitizer: what is looked for are panics and broken promises, and any compiler does.
FUZZED := config record protocol archive webhook
SECONDS ?= 60
FUZZ := $(TARGET)/fuzz
HOST = $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')

fuzz: ## Fuzz the parsers with libFuzzer, each for a minute (SECONDS=); what is found stays below target/fuzz
	RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cdebug-assertions=yes \
	  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	  -Cllvm-args=-sanitizer-coverage-trace-compares" \
	  cargo build --locked --release --target $(HOST) --target-dir $(FUZZ) --manifest-path tests/fuzz/Cargo.toml
	@for name in $(FUZZED); do \
	  mkdir -p $(FUZZ)/corpus/$$name; \
	  echo "== $$name, $(SECONDS) s"; \
	  $(FUZZ)/$(HOST)/release/$$name -max_total_time=$(SECONDS) -timeout=10 -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=$(FUZZ)/$$name- $(FUZZ)/corpus/$$name tests/fuzz/corpus/$$name; \
	done

check-runtimes: ## Build FrankenPHP and RoadRunner from their Go modules; Octane's tests with them
	@$(MAKE) deps WHAT=host
	@$(MAKE) deb > $(TARGET)/runtimes-deb.log 2>&1 || { cat $(TARGET)/runtimes-deb.log; exit 1; }
	DEPLOYD_DEB=$$(ls $(DIST)/deployd_$(VERSION)_*.deb) cargo test --locked --test host runtimes -- --nocapture

bench: ## Deployments under load beside the common script; writes target/bench/results.json
	@$(MAKE) deps WHAT=host
	@$(MAKE) deb > $(TARGET)/bench-deb.log 2>&1 || { cat $(TARGET)/bench-deb.log; exit 1; }
	DEPLOYD_DEB=$$(ls $(DIST)/deployd_$(VERSION)_*.deb) cargo bench --locked --profile dev --bench switch

# Of the packages that are there: `make deb rpm lint` has all of them looked at.
lint: ## Format, clippy, units, man pages, and by lintian and rpmlint the packages in dist/
	@$(MAKE) deps WHAT=lint
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	mandoc -T lint -W warning man/*.[1578]
	@for deb in $(wildcard dist/*.deb); do echo "lintian $$deb"; lintian --fail-on error,warning --profile debian $$deb; done
	rpmlint --strict --config packaging/rpm/rpmlint.toml packaging/rpm/deployd.spec $(wildcard dist/*.rpm)
	cargo test --locked --test packaging

.PHONY: lint-ansible lint-puppet
# ansible-core and ansible-lint of PyPI: ansible-test takes a collection only where its path says what it is. SANITY=--requirements
# has it fetch what its tests need; without them it leaves those out and says so.
lint-ansible: ## Sanity tests, unit tests and ansible-lint of the collection
	@at=$$(mktemp -d); trap 'rm -rf "$$at"' EXIT; \
	  mkdir -p $$at/ansible_collections/deployd; \
	  cp -a packaging/ansible $$at/ansible_collections/deployd/deployd; \
	  cd $$at/ansible_collections/deployd/deployd; \
	  ANSIBLE_COLLECTIONS_PATH=$$at ansible-lint --offline; \
	  ansible-test sanity --local $(SANITY); \
	  ansible-test units --local $(SANITY)

# puppet-lint looks at the name of the folder, which is the module's.
lint-puppet: ## puppet parser validate and puppet-lint of the module
	@at=$$(mktemp -d); trap 'rm -rf "$$at"' EXIT; \
	  cp -a packaging/puppet $$at/deployd; \
	  puppet parser validate $$at/deployd/manifests; \
	  puppet-lint --fail-on-warnings $$at/deployd

# Not in `make check`: to install the two tools takes minutes, and one of them needs the network.
check-supply: deny sbom ## What a nightly CI run adds: `deny` and `sbom`, whose tools take minutes to install

# The list of known holes comes from the network: last, so that all else is said without it.
deny: ## The crates: licences, duplicates, sources, known holes (cargo-deny, installed when it is missing)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny@$(CARGO_DENY)
	cargo deny --locked check licenses bans sources
	cargo deny --locked check advisories

# As CycloneDX, which scanners read: of what is linked into the programs, not of what tests them.
sbom: ## Write dist/deployd.cdx.json, the crates that the programs are made of (cargo-cyclonedx)
	@command -v cargo-cyclonedx >/dev/null || cargo install --locked cargo-cyclonedx@$(CARGO_CYCLONEDX)
	mkdir -p $(DIST)
	cargo cyclonedx --format json --spec-version 1.5 --override-filename deployd.cdx
	sed 's|file://$(CURDIR)|file:///deployd|g' deployd.cdx.json > $(DIST)/deployd.cdx.json
	rm deployd.cdx.json

deps: ## Install what is missing for WHAT=deb|rpm|lint|host|power|runtimes (Debian, as root)
	@packaging/deps $(or $(WHAT),host)

clean: ## Remove what was built
	cargo clean
	rm -rf dist
