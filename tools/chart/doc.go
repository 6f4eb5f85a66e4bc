// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package chart tests the Helm chart as a cluster and an operator would see it. Helm itself is among its tools.
package chart
