// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package chart tests the Helm chart from the view of a cluster and an operator. Helm is a tool of this module.
package chart
