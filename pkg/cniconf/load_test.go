// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cniconf_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

const (
	bridge = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}`
	none   = `{"cniVersion": "1.0.0", "name": "pods"}`
	single = `{"cniVersion": "1.0.0", "name": "pods", "type": "bridge"}`
	ours   = `{"type": "halfclose"}`
)

// confDir creates a directory with these files. A name with a trailing slash is a directory, a text "-> x" a link to x.
func confDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		put(t, dir+"/"+name, text)
	}
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if target, link := strings.CutPrefix(text, "-> "); link {
		err = errors.Join(err, os.Symlink(target, path))
	} else if !strings.HasSuffix(path, "/") {
		err = errors.Join(err, os.WriteFile(path, []byte(text), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, root hostfs.Dir, path string) []cniconf.File {
	t.Helper()
	d, err := root.OpenDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	files, err := cniconf.Load(d)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// loaded is the part of a File that the tests compare.
type loaded struct {
	Name    string
	Loads   bool
	Network string
	Chain   []string
}

func summary(files []cniconf.File) (all []loaded) {
	for _, f := range files {
		l := loaded{Name: f.Name, Loads: f.Problem() == nil}
		if l.Loads {
			l.Network = f.List.Name
			for _, p := range f.Plugins() {
				l.Chain = append(l.Chain, p.Network.Type)
			}
		}
		all = append(all, l)
	}
	return all
}

// byLibcni loads a directory as containerd and CRI-O do.
func byLibcni(t *testing.T, dir string) (all []loaded) {
	t.Helper()
	paths, err := libcni.ConfFiles(dir, []string{".conf", ".conflist", ".json"})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		l := loaded{Name: filepath.Base(path)}
		var list *libcni.NetworkConfigList
		var err error
		if filepath.Ext(path) == ".conflist" {
			list, err = libcni.ConfListFromFile(path)
		} else {
			var conf *libcni.NetworkConfig
			//nolint:staticcheck // deprecated, as is the format: runtimes call it
			if conf, err = libcni.ConfFromFile(path); err == nil {
				list, err = libcni.ConfListFromConf(conf) //nolint:staticcheck // as above
			}
		}
		if l.Loads = err == nil; l.Loads {
			l.Network = list.Name
			for _, p := range list.Plugins {
				l.Chain = append(l.Chain, p.Network.Type)
			}
		}
		all = append(all, l)
	}
	return all
}

func TestADirectoryIsReadAsLibcniReadsIt(t *testing.T) {
	inlined := strings.Replace(bridge, `"name"`, `"loadOnlyInlinedPlugins": true, "name"`, 1)
	for name, files := range map[string]map[string]string{
		"nothing":                                {},
		"files that runtimes do not load":        {"README": "x", "10.conflist.bak": bridge, ".conflist/": "", "10.yaml": "x"},
		"files in their order":                   {"20.conf": single, "10.json": single, "05.conflist": bridge, "100.conflist": bridge},
		"a hidden file":                          {".conflist": bridge, ".10.conf": single},
		"broken files":                           {"05.conflist": "{", "10.conf": "{}", "15.json": "[]", "20.conflist": bridge, "30.conflist": ""},
		"a list in a file for a single plugin":   {"10.conf": bridge, "20.conflist": single},
		"directories named like networks":        {"05.conflist/": "", "10.conf/x": "", "20.conflist": bridge},
		"links":                                  {"10.conflist": "-> real", "real": bridge, "20.conflist": "-> none", "30.conflist": "-> dir", "dir/": ""},
		"drop-ins":                               {"10.conflist": bridge, "pods/20.conf": ours, "pods/10.conf": `{"type": "tuning"}`, "pods/README": "x", "pods/30.conflist": bridge, "pods/40.conf/": ""},
		"drop-ins alone":                         {"10.conflist": none, "pods/20.conf": ours},
		"no plugins at all":                      {"10.conflist": none},
		"no plugins and an empty directory":      {"10.conflist": none, "pods/": ""},
		"an empty list of plugins":               {"10.conflist": `{"name": "pods", "plugins": []}`, "pods/20.conf": ours},
		"drop-ins that the network excludes":     {"10.conflist": inlined, "pods/20.conf": ours},
		"drop-ins of another network":            {"10.conflist": bridge, "other/20.conf": ours},
		"drop-ins of a single plugin":            {"10.conf": single, "pods/20.conf": ours},
		"a broken drop-in":                       {"10.conflist": bridge, "pods/10.conf": ours, "pods/20.conf": "{", "20.conflist": `{"name": "other", "plugins": [{"type": "bridge"}]}`},
		"a broken drop-in alone":                 {"10.conflist": none, "pods/20.conf": "{"},
		"a drop-in without a type":               {"10.conflist": bridge, "pods/20.conf": "{}"},
		"a drop-in that is a link":               {"10.conflist": bridge, "pods/20.conf": "-> ../ours", "ours": ours},
		"a drop-in that is a link to nothing":    {"10.conflist": bridge, "pods/20.conf": "-> none"},
		"a directory of drop-ins that is a link": {"10.conflist": bridge, "pods": "-> elsewhere", "elsewhere/20.conf": ours},
		"that link leads nowhere":                {"10.conflist": bridge, "pods": "-> none"},
		"a file in place of that directory":      {"10.conflist": bridge, "pods": "x"},
		"a file named like its network":          {"10.conflist": strings.Replace(bridge, "pods", "10.conflist", 1)},
		"cniVersions":                            {"10.conflist": `{"cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.1.0"], "name": "a", "plugins": [{"type": "x"}]}`, "20.conflist": `{"cniVersions": 1, "name": "a"}`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := confDir(t, files)
			if diff := cmp.Diff(byLibcni(t, dir), summary(load(t, "", dir))); diff != "" {
				t.Errorf("-libcni +got\n%s", diff)
			}
		})
	}
}

func TestLinksBelowARootResolveAsOnTheNode(t *testing.T) {
	root := confDir(t, map[string]string{
		"etc/cni/net.d/10.conflist": "-> /var/cni/list", "var/cni/list": bridge,
		"etc/cni/net.d/pods": "-> ../../../../../var/cni/pods", "var/cni/pods/10.conf": "-> /var/cni/ours", "var/cni/ours": ours,
		"etc/cni/net.d/20.conflist": "-> " + filepath.Join(confDir(t, map[string]string{"list": bridge}), "list"),
	})
	want := []loaded{{"10.conflist", true, "pods", []string{"bridge", "halfclose"}}, {Name: "20.conflist"}}
	files := load(t, hostfs.Dir(root), "/etc/cni/net.d")
	if diff := cmp.Diff(want, summary(files)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if !files[0].Link || string(files[0].Data) != bridge || !errors.Is(files[1].Err, os.ErrNotExist) {
		t.Errorf("got %+v", files)
	}
}

func TestAFIFOOrALargeFileBlocksNothing(t *testing.T) {
	padded := func(size int) string { return bridge + strings.Repeat(" ", size-len(bridge)) }
	dir := confDir(t, map[string]string{
		"10-large.conflist": padded(cniconf.MaxFileSize + 1), "20-largest.conflist": padded(cniconf.MaxFileSize), "pods/": "",
	})
	for _, fifo := range []string{"05-fifo.conflist", "pods/10-fifo.conf"} {
		if err := unix.Mkfifo(filepath.Join(dir, fifo), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := load(t, "", dir)
	for i, want := range []string{"not a regular file (prw-------)", "larger than 4194304 bytes", ""} {
		if err := files[i].Err; (err != nil || want != "") && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v, want %q", files[i].Name, err, want)
		}
	}
	if err := files[2].DropInsErr; err == nil || err.Error() != "pods/10-fifo.conf: not a regular file (prw-------)" {
		t.Errorf("the drop-in: %v", err)
	}
}

func TestRuntimesChooseTheFirstFileThatLoads(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  int
	}{
		"none":                        {nil, -1},
		"all are broken":              {map[string]string{"10.conflist": "{", "20.conf": "{"}, -1},
		"the first":                   {map[string]string{"10.conflist": bridge, "20.conflist": bridge}, 0},
		"the first that loads":        {map[string]string{"10.conflist": "{", "20.conf": single, "30.conflist": bridge}, 1},
		"the first without a problem": {map[string]string{"10.conflist": bridge, "pods/x.conf": "{", "20.conflist": strings.Replace(bridge, "pods", "other", 1)}, 1},
	} {
		if got := cniconf.Choose(load(t, "", confDir(t, tt.files))); got != tt.want {
			t.Errorf("%s: chose %d, want %d", name, got, tt.want)
		}
	}
}

// The name becomes part of a path. Runtimes refuse such a name when they create a pod.
func TestANameThatIsAPathIsRefused(t *testing.T) {
	dir := confDir(t, map[string]string{"net.d/10.conflist": strings.Replace(bridge, "pods", "../out", 1), "out/10.conf": ours})
	files := load(t, "", filepath.Join(dir, "net.d"))
	if len(files) != 1 || files[0].Err == nil || files[0].List != nil {
		t.Errorf("got %+v", files)
	}
}

func TestAnUnsupportedVersionIsFound(t *testing.T) {
	for text, want := range map[string]string{
		`"cniVersion": "1.0.0"`: "spoken", `"cniVersion": "0.3.1"`: "spoken", `"cniVersion": "1.1.0"`: "spoken",
		`"cniVersion": "0.2.0"`: "0.2.0", `"cniVersion": "2.0.0"`: "2.0.0", `"x": 1`: "",
		`"cniVersions": ["0.4.0", "1.0.0"]`:                                 "spoken",
		`"cniVersion": "0.2.0", "cniVersions": ["1.0.0"]`:                   "0.2.0", // a runtime that does not know cniVersions requires it
		`"cniVersion": "1.0.0", "cniVersions": ["0.1.0", "0.2.0", "9.0.0"]`: "spoken",
	} {
		dir := confDir(t, map[string]string{"10.conflist": "{" + text + `, "name": "pods", "plugins": [{"type": "bridge"}]}`})
		f := load(t, "", dir)[0]
		if f.Err != nil {
			t.Fatalf("%s: %v", text, f.Err)
		}
		if got, found := f.UnsupportedVersion(); found != (want != "spoken") || found && got != want {
			t.Errorf("%s: %q, %v, want %s", text, got, found, want)
		}
	}
}

func TestAFileThatIsRemovedDuringTheLoadIsNotBroken(t *testing.T) {
	dir := confDir(t, map[string]string{"20-stays.conflist": bridge})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			tmp, path := filepath.Join(dir, "tmp"), filepath.Join(dir, fmt.Sprintf("%d-comes.conflist", 10+i%2*20))
			if err := errors.Join(os.WriteFile(tmp, []byte(bridge), 0o600), os.Rename(tmp, path), os.Remove(path)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	d, err := hostfs.Dir("").OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	came := 0
	for rounds := 0; rounds < 300 || came < 5; rounds++ {
		files, err := cniconf.Load(d)
		if errors.Is(err, cniconf.ErrChanging) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		stays := false
		for _, f := range files {
			if f.Problem() != nil {
				t.Fatalf("%s: %v", f.Name, f.Problem())
			}
			stays = stays || f.Name == "20-stays.conflist"
		}
		if !stays {
			t.Fatal("the file that stays is missing")
		}
		if len(files) > 1 {
			came++
		}
	}
}

func FuzzParse(f *testing.F) {
	for name, text := range map[string]string{"a.conflist": bridge, "b.conf": single, "c.json": ours, "d.conflist": none, "e.conflist": `{"name": "../..", "plugins": [{}]}`} {
		f.Add(name, []byte(text))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		list, err := cniconf.Parse(name, data)
		if (list == nil) != (err != nil) {
			t.Fatalf("got %v, %v", list, err)
		}
		if err != nil {
			return
		}
		if list.Name == "" || list.Name == "." || list.Name == ".." || strings.Contains(list.Name, "/") {
			t.Errorf("%q is a network's name", list.Name)
		}
		file := cniconf.File{Name: name, Data: data, List: list}
		for _, p := range file.Plugins() {
			cniconf.IsOurs(p)
		}
		file.UnsupportedVersion()
		if filepath.Ext(name) != ".conflist" && len(list.Plugins) != 1 {
			t.Errorf("a single plugin became %d", len(list.Plugins))
		}
	})
}
