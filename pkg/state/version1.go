// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

// version1 is that of the records of the single program. Their names have no netns.
const version1 = 1
