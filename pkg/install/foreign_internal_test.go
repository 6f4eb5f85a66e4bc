// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// foreignList is the network that another process writes: of the same name, with more content.
const foreignList = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge", "mtu": 9000}, {"type": "portmap"}], "x": {"y": 1}}`

// foreignWriter is another process, which writes at one step of an installer.
type foreignWriter struct {
	// write writes the file, or begins to if it returns finish, which is called some steps later.
	write func(t *testing.T, path string) (finish func())
	// want returns the final content without our entry.
	want func(before string) string
}

func foreignWriters() map[string]foreignWriter {
	its := func(string) string { return foreignList }
	return map[string]foreignWriter{
		"renames a file into place": {write: func(t *testing.T, path string) func() {
			renameTo(t, path, foreignList)
			return nil
		}, want: its},
		"truncates the file and writes it": {write: func(t *testing.T, path string) func() {
			write(t, path, foreignList)
			return nil
		}, want: its},
		"truncates the file and writes it in two parts": {write: func(t *testing.T, path string) func() {
			f, err := os.Create(path)
			half := len(foreignList) / 2
			put(t, f, err, foreignList[:half])
			return func() {
				put(t, f, nil, foreignList[half:])
				f.Close()
			}
		}, want: its},
		"appends a plugin": {write: func(t *testing.T, path string) func() {
			var all map[string]any
			data, err := os.ReadFile(path)
			if err == nil {
				err = json.Unmarshal(data, &all)
			}
			if err != nil {
				t.Fatalf("another process reads %q: %v", data, err)
			}
			all["plugins"] = append(all["plugins"].([]any), map[string]any{"type": "istio-cni"})
			if data, err = json.MarshalIndent(all, "", "\t"); err != nil {
				t.Fatal(err)
			}
			renameTo(t, path, string(data))
			return nil
		}, want: func(before string) string {
			return strings.Replace(before, "    }\n  ]", "    }, {\"type\": \"istio-cni\"}\n  ]", 1)
		}},
	}
}

func put(t *testing.T, f *os.File, err error, data string) {
	t.Helper()
	if err == nil {
		_, err = f.WriteString(data)
	}
	if err != nil {
		t.Error(err)
	}
}

func renameTo(t *testing.T, path, data string) {
	t.Helper()
	tmp := filepath.Join(filepath.Dir(path), ".tmp")
	write(t, tmp, data)
	if err := os.Rename(tmp, path); err != nil {
		t.Error(err)
	}
}
