// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/pkg/api"
)

// FuzzTheHolderOfTheLockIsReadOrUnknown reads any file as the lock's.
func FuzzTheHolderOfTheLockIsReadOrUnknown(f *testing.F) {
	f.Add([]byte(`{"pid":7,"started":"2026-11-30T12:00:00Z"}`))
	f.Add([]byte(`{"pid":"7"}`))
	f.Add([]byte(`{"pid":7`))
	f.Add([]byte(strings.Repeat(" ", 5000)))
	path := filepath.Join(f.TempDir(), "lock")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		h := readHolder(file)
		if h == (api.Holder{}) {
			return
		}
		if err := (&Lock{file: file}).writeHolder(h); err != nil {
			t.Fatal(err)
		}
		if again := readHolder(file); again != h {
			t.Errorf("%+v is read back as %+v", h, again)
		}
	})
}

// FuzzFlagsAreParsedOrRefused sets each flag of the reaper in the same way as a command line does.
func FuzzFlagsAreParsedOrRefused(f *testing.F) {
	for _, s := range []string{"", "2%", "100", "NaN", "-1", "1e400", "/a,/b", "a", "observe", "10s", "9999999999h", "debug", "DEBUG+7", "127.0.0.1:9100", "true", "0x10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c Config
		flags := pflag.NewFlagSet("reaper", pflag.ContinueOnError)
		c.addFlags(flags)
		flags.VisitAll(func(one *pflag.Flag) {
			if flags.Set(one.Name, text) != nil {
				return
			}
			shown := one.Value.String()
			if one.Value.Type() == "stringArray" || one.Value.Type() == "stringSlice" {
				return // shown in brackets
			}
			if err := flags.Set(one.Name, shown); err != nil {
				t.Errorf("--%s %q is shown as %q, which is refused: %v", one.Name, text, shown, err)
			}
		})
		if c.CPUBudget < 0 || c.CPUBudget > 1 || c.AskCPUBudget < 0 || c.AskCPUBudget > 1 {
			t.Errorf("budgets %v and %v of %q", c.CPUBudget, c.AskCPUBudget, text)
		}
		_ = isAddress(text)
	})
}
