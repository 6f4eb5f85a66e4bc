// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"testing"

	"github.com/halfclose/halfclose/pkg/owners"
)

func TestNamesQuotesMisleadingCommands(t *testing.T) {
	processes := func(commands ...string) (list []owners.Process) {
		for i, c := range commands {
			list = append(list, owners.Process{PID: i + 7, Command: c, ContainerID: "c1"})
		}
		return list
	}
	for _, tc := range []struct {
		list []owners.Process
		want string
	}{
		{processes("nginx"), "nginx[7]"},
		{processes("nginx", "side-car_2.0", "kworker/0:1+ev"), "nginx[7] side-car_2.0[8] kworker/0:1+ev[9]"},
		{processes("a", "b", "c", "d"), "a[7] b[8] c[9] d[10]"},
		{processes("a", "b", "c", "d", "e", "f"), "a[7] b[8] c[9] d[10] and 2 more"},
		{processes("tmux: server"), `"tmux: server"[7]`},
		{processes("init[1] x"), `"init[1] x"[7]`},
		{processes("\x1b[2J\n\"\xff", "ü", ""), `"\x1b[2J\n\"\xff"[7] "\u00fc"[8] ""[9]`},
		{nil, ""},
	} {
		if got := owners.Names(tc.list); got != tc.want {
			t.Errorf("%v: got %s, want %s", tc.list, got, tc.want)
		}
	}
}
