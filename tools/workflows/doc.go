// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package workflows checks the repository's GitHub workflows and module files for what actionlint does not: pinned
// actions, least permissions, and one Go toolchain.
package workflows
