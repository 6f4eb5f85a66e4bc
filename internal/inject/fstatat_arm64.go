// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inject

import "golang.org/x/sys/unix"

const sysFstatat = unix.SYS_FSTATAT
