# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0

.DEFAULT_GOAL := help
SHELL := /bin/bash

PKG       := github.com/halfclose/halfclose
VERSION   ?= v$(shell scripts/version.sh)
COMMIT    ?= $(shell git describe --match= --always --abbrev=40 --dirty 2>/dev/null || echo unknown)
PLATFORMS ?= linux/amd64 linux/arm64
# The directory of build-all and image.
DIST      ?= dist
# The directory of man pages and completions.
SHARE     ?= bin/share
# The directories of make install.
PREFIX    ?= /usr/local
DESTDIR   ?=
# Packages of a release: make release FORMATS=deb
FORMATS   ?= deb rpm
FUZZTIME  ?= 10s
# For one package or test: make test PKGS=./pkg/state ARGS='-run TestName -v'
PKGS      ?=
ARGS      ?=
# For some runtimes: make e2e RUNTIMES='containerd-2 podman'
RUNTIMES  ?=
# For some kernels: make test-kernels KERNELS='6.1 5.10', and QUICK=1 for twenty tests in 6.1
KERNELS   ?=
# For some families: make e2e-programs FAMILIES='pools retries', and QUICK=1 for one scenario of each
FAMILIES  ?=
QUICK     ?=

STAMP    := $(PKG)/pkg/buildinfo
LDFLAGS  := -s -w -X $(STAMP).version=$(VERSION) -X $(STAMP).commit=$(COMMIT)
# LDFLAGS have the version and commit, so the toolchain need not run git, which can fail in a container.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false

# The image has the name that the chart and the manifests use.
IMAGE   ?= ghcr.io/halfclose/halfclose:$(shell awk '$$1 == "appVersion:" { gsub(/"/, "", $$2); print $$2 }' deploy/kubernetes/chart/Chart.yaml)
CREATED := $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null)

CNI_PLUGINS := github.com/containernetworking/plugins/plugins
export FUZZTIME
# The go command keeps its caches there, and fails without HOME.
HOME      ?= $(shell echo ~)
export HOME

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Build

.PHONY: build
build: ## Build bin/halfclose and the plugin bin/cni/halfclose, static, for this machine
	@$(GO_BUILD) -ldflags '$(LDFLAGS)' -o bin/halfclose ./cmd/halfclose
	@$(GO_BUILD) -ldflags '$(LDFLAGS)' -o bin/cni/halfclose ./plugins/halfclose
	@ln -sfn ../halfclose bin/cni/halfclose-reaper

KUBECTL ?= bin/kubectl-halfclose

.PHONY: kubectl
kubectl: ## Build bin/kubectl-halfclose, the plugin of kubectl, for this machine (GOOS=, GOARCH=, KUBECTL=)
	@out='$(abspath $(KUBECTL))'; cd cluster && $(GO_BUILD) -ldflags '$(LDFLAGS)' -o "$$out" .

.PHONY: build-all
build-all: $(PLATFORMS:%=$(DIST)/%) ## Build dist/halfclose-linux-ARCH and the plugin dist/halfclose-cni-linux-ARCH, static, for amd64 and arm64

.PHONY: $(PLATFORMS:%=$(DIST)/%)
$(PLATFORMS:%=$(DIST)/%): $(DIST)/%:
	@GOOS=$(*D) GOARCH=$(*F) $(GO_BUILD) -ldflags '$(LDFLAGS)' -o $(DIST)/halfclose-$(*D)-$(*F) ./cmd/halfclose
	@GOOS=$(*D) GOARCH=$(*F) $(GO_BUILD) -ldflags '$(LDFLAGS)' -o $(DIST)/halfclose-cni-$(*D)-$(*F) ./plugins/halfclose

.PHONY: image
image: build-all notices ## Build dist/halfclose-image.tar, for ctr, podman, docker and kind to load (IMAGE=, PLATFORMS=)
	@cd tools/image && go run . -ref '$(IMAGE)' -version '$(VERSION)' -commit '$(COMMIT)' -created '$(CREATED)' \
		-licenses '$(abspath $(DIST))/share/licenses' -o '$(abspath $(DIST))/halfclose-image.tar' \
		$(foreach p,$(PLATFORMS),-command '$(abspath $(DIST))/halfclose-$(subst /,-,$(p))' -plugin '$(abspath $(DIST))/halfclose-cni-$(subst /,-,$(p))')

.PHONY: manual
manual: ## Build man pages and shell completions in bin/share
	@rm -rf '$(SHARE)/man' '$(SHARE)/completions'
	@CGO_ENABLED=0 go run -trimpath ./tools/manual -version '$(VERSION)' '$(SHARE)'
	@gzip -9n '$(SHARE)'/man/man*/*

.PHONY: install
install: ## Install what make build manual built, below /usr/local (PREFIX=, DESTDIR=, root)
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' scripts/install.sh bin/halfclose bin/cni/halfclose bin/share

.PHONY: release
# The version of a release is that of the chart, unless VERSION is given.
release: ## Build all artefacts of a release in dist: see scripts/release.sh (VERSION=, PLATFORMS=, FORMATS=)
	@VERSION='$(if $(filter file,$(origin VERSION)),,$(VERSION))' PLATFORMS='$(PLATFORMS)' FORMATS='$(FORMATS)' scripts/release.sh

.PHONY: notices
notices: ## Write the licences and notices of the programs into dist/share/licenses
	@scripts/notices.sh '$(DIST)/share/licenses' '$(PLATFORMS)' cmd/halfclose plugins/halfclose

.PHONY: reproduce
reproduce: ## Build the release in dist again, in a clone with another path and home, and compare each file
	@scripts/reproduce.sh

.PHONY: manifests
manifests: ## Render deploy/kubernetes/halfclose.yaml and halfclose-uninstall.yaml from the chart
	@scripts/manifests.sh

.PHONY: cni-plugins
cni-plugins: ## Build the CNI plugins that demo and tests chain halfclose with, into bin/cni
	@cd tools/cni && $(GO_BUILD) -o ../../bin/cni/ $(CNI_PLUGINS)/main/{bridge,ptp,loopback} $(CNI_PLUGINS)/ipam/host-local \
		$(CNI_PLUGINS)/meta/tuning

##@ Test

.PHONY: test
test: build cni-plugins ## Run all tests: unit, kernel and end to end (PKGS=, ARGS=)
	@scripts/test.sh $(ARGS) $(or $(PKGS),$(if $(ARGS),./...))

.PHONY: test-deploy
# These tests read files outside their modules, so the go command does not notice changes: -count=1.
test-deploy: image ## Test the image, and the chart with the manifests rendered from it
	@cd tools/image && go test -count=1 ./...
	@cd tools/chart && go test -count=1 ./...

.PHONY: test-release
test-release: ## Test the release in dist: its sums, notices and SBOMs
	@cd tools/release && go test -count=1 ./...

.PHONY: test-kubectl
test-kubectl: ## Test the plugin of kubectl, and its manifest for krew
	@cd cluster && go test ./...
	@rm -rf bin/krew && scripts/kubectl.sh archives bin/krew 0.1.0 "linux/$$(go env GOARCH)"
	@scripts/kubectl.sh manifest bin/krew 0.1.0 && scripts/kubectl.sh check bin/krew

.PHONY: e2e
e2e: ## Test with real container runtimes: libcni, cnitool, ocicni, containerd, ctr, podman (RUNTIMES=, root)
	@scripts/e2e.sh $(RUNTIMES)

.PHONY: e2e-kind
e2e-kind: ## Test on a real Kubernetes cluster of two nodes; the first run builds its parts (root)
	@scripts/e2e-kind.sh

.PHONY: e2e-programs
e2e-programs: ## Test with programs that leak, retry, stop or half-close, with and without halfclose (FAMILIES=, QUICK=1, root)
	@QUICK='$(QUICK)' scripts/e2e-programs.sh $(FAMILIES)

.PHONY: test-kernels
test-kernels: ## Test in other kernels, which qemu emulates: see docs/kernels.md (KERNELS=, ARGS=, QUICK=1)
	@scripts/test-kernels.sh $(if $(QUICK),-short) $(ARGS) $(KERNELS)

.PHONY: fuzz
fuzz: ## Fuzz each parser for FUZZTIME (10s)
	@scripts/fuzz.sh

.PHONY: corpora
corpora: ## Keep some of the inputs that fuzzing found, in testdata/fuzz of each package (PKGS=)
	@go run ./tools/corpora $(PKGS)

.PHONY: mutants
mutants: ## Check that the tests of pkg/policy fail with each of a list of mistakes in it
	@go run ./tools/mutants

SEED   ?= 0
.PHONY: faults
faults: build ## Test each fault of each system call in docs/faults.md, not only the first ones (ARGS=, root)
	@FAULTS_ALL=1 scripts/test.sh -count=1 -timeout 60m $(ARGS) ./test/faults

FINDER ?= turns
.PHONY: torture
torture: build ## Run halfclose while everything goes wrong, and compare each connection with a model (DURATION=2m, SEED=, FINDER=, root)
	@CGO_ENABLED=0 go build -o bin/torture/torture ./test/torture
	@bin/torture/torture -duration '$(if $(filter file,$(origin DURATION)),2m,$(DURATION))' -seed '$(SEED)' -finder '$(FINDER)'

# For some of the faults: make torture-faults FAULTS='no-cookie role-forgotten', and QUICK=1 for four of them
FAULTS ?= $(if $(QUICK),no-second-look no-cookie usable-records-only role-forgotten)
.PHONY: torture-faults
torture-faults: ## Check that the torture test notices each of a list of faults within a minute (FAULTS=, SEED=, root)
	@go run ./test/torture/faults $(if $(filter-out 0,$(SEED)),-seed '$(SEED)') $(FAULTS)

##@ Try and measure

.PHONY: demo
demo: build cni-plugins ## Show halfclose on a node with containers, half-closed sockets and their peers (root)
	@scripts/demo.sh

.PHONY: pictures
pictures: ## Take the pictures in docs/images again
	@scripts/pictures.sh

.PHONY: bench
bench: build ## Measure halfclose next to the alternatives, and print the ratios (root)
	@scripts/bench.sh

DURATION ?= 10m
.PHONY: soak
soak: build ## Run a reaper under a steady load for DURATION (10m), and fail if memory, descriptors, goroutines, threads or lateness rise (root)
	@go run ./test/torture -soak -profile soak -finder bpf -duration '$(DURATION)'

FIGURES ?= docs/images/growth.json
.PHONY: curves
curves: ## Draw the curves in docs/images from the figures of scripts/bench.sh -only growth -output json (FIGURES=)
	@cd tools/curves && go run . '$(abspath $(FIGURES))' '$(abspath docs/images)'

##@ Develop

.PHONY: generate
generate: ## Recompile the BPF programs of pkg/bpf (installs clang, if missing)
	@scripts/generate.sh

.PHONY: lint
lint: ## Check code, scripts, module files, and words (tools/prose)
	@scripts/lint.sh

.PHONY: vulncheck
vulncheck: ## Check for known vulnerabilities in called code (needs vuln.go.dev)
	@scripts/vulncheck.sh

.PHONY: fmt
fmt: ## Format the code as lint requires
	@$$(scripts/tool.sh golangci-lint) fmt

.PHONY: tools
tools: ## Build the pinned development tools into bin/tools
	@for t in golangci-lint actionlint govulncheck benchstat helm; do scripts/tool.sh $$t; done

.PHONY: deps
deps: ## Install the Debian packages that tests and demo need, if missing (root)
	@scripts/deps.sh

.PHONY: clean
clean: ## Remove build results, tools and logs
	rm -rf bin dist .ci/log
