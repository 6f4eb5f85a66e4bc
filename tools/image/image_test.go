// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	ref     = "ghcr.io/halfclose/halfclose:v9"
	created = "2026-01-02T03:04:05Z"
)

// program writes an ELF file for a machine, with this content and without code. With loader it names a dynamic loader.
func program(t *testing.T, machine elf.Machine, loader bool, content string) string {
	t.Helper()
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Ehsize: 64, Phentsize: 56, Phoff: 64,
	}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	var b bytes.Buffer
	var segments []elf.Prog64
	if loader {
		segments = append(segments, elf.Prog64{Type: uint32(elf.PT_INTERP)})
	}
	h.Phnum = uint16(len(segments))
	for _, part := range []any{h, segments, []byte(content)} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "halfclose")
	if err := os.WriteFile(path, b.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// programsFor writes a command and a plugin for a machine.
func programsFor(t *testing.T, machine elf.Machine, content string) [2]string {
	t.Helper()
	return [2]string{program(t, machine, false, content+" command"), program(t, machine, false, content+" plugin")}
}

// archiveOf builds an archive of pairs of a command and its plugin.
func archiveOf(t *testing.T, pairs ...[2]string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image.tar")
	args := []string{"-ref", ref, "-version", "v9", "-commit", "abc", "-created", created, "-licenses", notices(t), "-o", out}
	for _, pair := range pairs {
		args = append(args, "-command", pair[0], "-plugin", pair[1])
	}
	if err := run(args, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	return out
}

// notices writes a directory of licences.
func notices(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "LICENSE"), []byte("licence"), 0o600)
	put(t, filepath.Join(dir, "THIRD_PARTY_NOTICES"), []byte("notices"), 0o600)
	return dir
}

// shipped returns the path of an archive that make image has built.
func shipped(t *testing.T) string {
	t.Helper()
	const archive = "../../dist/halfclose-image.tar"
	if _, err := os.Stat(archive); err != nil {
		why := fmt.Sprintf("%v: run make image", err)
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return archive
}

// put writes a file and the directories on the way to it.
func put(t *testing.T, path string, content []byte, mode os.FileMode) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, content, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// read reads a file.
func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheImageHasOnlyTheProgramsAndTheirLicencesForEachPlatform(t *testing.T) {
	amd, arm := programsFor(t, elf.EM_X86_64, "one"), programsFor(t, elf.EM_AARCH64, "other")
	name, i := index(t, archiveOf(t, amd, arm))
	if name != ref {
		t.Errorf("it is called %q, want %q", name, ref)
	}
	platforms, images := images(t, i)
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(platforms, want) {
		t.Fatalf("it is for %v, want %v", platforms, want)
	}
	for platform, pair := range map[string][2]string{"linux/amd64": amd, "linux/arm64": arm} {
		files := rootfs(t, images[platform])
		want := []string{
			"usr/", "usr/local/", "usr/local/bin/", "usr/local/bin/halfclose",
			"usr/local/lib/", "usr/local/lib/halfclose/", "usr/local/lib/halfclose/cni/", "usr/local/lib/halfclose/cni/halfclose",
			"usr/share/", "usr/share/doc/", "usr/share/doc/halfclose/", "usr/share/doc/halfclose/LICENSE", "usr/share/doc/halfclose/THIRD_PARTY_NOTICES",
		}
		if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, want) {
			t.Errorf("%s: it has %v, want %v", platform, got, want)
		}
		for name, path := range map[string]string{"usr/local/bin/halfclose": pair[0], "usr/local/lib/halfclose/cni/halfclose": pair[1]} {
			if !bytes.Equal(files[name].content, read(t, path)) {
				t.Errorf("%s: %s is another program", platform, name)
			}
		}
		for name, f := range files {
			mode := int64(0o755)
			if strings.HasPrefix(name, "usr/share/doc/halfclose/") && f.header.Typeflag == tar.TypeReg {
				mode = 0o644
			}
			if f.header.Mode != mode || f.header.Uid != 0 || f.header.Gid != 0 {
				t.Errorf("%s: the mode of %s is %o, its owner %d:%d", platform, name, f.header.Mode, f.header.Uid, f.header.Gid)
			}
		}
		config, err := images[platform].ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if p := config.OS + "/" + config.Architecture; p != platform {
			t.Errorf("%s: its configuration says %s", platform, p)
		}
		if got := config.Config.Entrypoint; !slices.Equal(got, []string{"/usr/local/bin/halfclose"}) || len(config.Config.Cmd) != 0 {
			t.Errorf("%s: it runs %v %v", platform, got, config.Config.Cmd)
		}
		if !slices.Contains(config.Config.Env, "PATH=/usr/local/bin") {
			t.Errorf("%s: kubectl exec would not find it: %v", platform, config.Config.Env)
		}
	}
}

// TestInstallFindsThePluginBesideTheCommand compares the two paths as halfclose install does.
func TestInstallFindsThePluginBesideTheCommand(t *testing.T) {
	if got := path.Join(path.Dir(commandIn), "../lib/halfclose/cni/halfclose"); got != pluginIn {
		t.Errorf("the plugin is at %s, and install looks for %s", pluginIn, got)
	}
}

// TestTheShippedCommandInstallsTheShippedPlugin runs the programs of make image, as the chart does.
func TestTheShippedCommandInstallsTheShippedPlugin(t *testing.T) {
	_, i := index(t, shipped(t))
	platforms, images := images(t, i)
	platform := "linux/" + runtime.GOARCH
	if !slices.Contains(platforms, platform) {
		t.Skipf("the image is for %v, and this machine is %s", platforms, platform)
	}
	files := rootfs(t, images[platform])
	image, host := t.TempDir(), t.TempDir()
	for name, f := range files {
		if f.header.Typeflag == tar.TypeReg {
			put(t, filepath.Join(image, name), f.content, 0o755)
		}
	}
	put(t, filepath.Join(host, "opt/cni/bin/bridge"), nil, 0o755)
	put(t, filepath.Join(host, "etc/cni/net.d/10-net.conflist"),
		[]byte(`{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}]}`), 0o644)
	cmd := exec.Command(filepath.Join(image, commandIn), "install", "--reaper=external", "--host-root="+host)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !bytes.Equal(read(t, filepath.Join(host, "opt/cni/bin/halfclose")), files[pluginIn[1:]].content) {
		t.Error("it has installed another program than the plugin")
	}
	entries, err := os.ReadDir(filepath.Join(host, "opt/cni/bin"))
	if err != nil || len(entries) != 2 { // bridge and the plugin: an external reaper needs no link
		t.Errorf("it has installed more than the plugin: %v (%v)", entries, err)
	}
}

func TestTheImageDescribesItself(t *testing.T) {
	_, i := index(t, archiveOf(t, programsFor(t, elf.EM_X86_64, "")))
	m, err := i.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		if d.ArtifactType != "" {
			t.Errorf("the index lists %s as an artifact, of type %s", d.Platform, d.ArtifactType)
		}
	}
	_, images := images(t, i)
	one, err := images["linux/amd64"].Manifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := images["linux/amd64"].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for where, labels := range map[string]map[string]string{"index": m.Annotations, "manifest": one.Annotations, "configuration": config.Config.Labels} {
		for key, want := range map[string]string{
			"version": "v9", "revision": "abc", "created": created, "licenses": "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)", "title": "halfclose",
			"source": "https://github.com/halfclose/halfclose",
		} {
			if got := labels["org.opencontainers.image."+key]; got != want {
				t.Errorf("the %s says that its %s is %q, want %q", where, key, got, want)
			}
		}
	}
	if got := config.Created.UTC().Format("2006-01-02T15:04:05Z"); got != created {
		t.Errorf("it was created at %s, want the source's %s", got, created)
	}
}

func TestTheSameInputGivesTheSameArchive(t *testing.T) {
	amd, arm := programsFor(t, elf.EM_X86_64, "one"), programsFor(t, elf.EM_AARCH64, "other")
	first := read(t, archiveOf(t, amd, arm))
	if !bytes.Equal(first, read(t, archiveOf(t, amd, arm))) {
		t.Error("the archives differ")
	}
	for what, i := range map[string]int{"command": 0, "plugin": 1} {
		other := amd
		other[i] = program(t, elf.EM_X86_64, false, "another")
		if bytes.Equal(first, read(t, archiveOf(t, other, arm))) {
			t.Errorf("another %s makes the same archive", what)
		}
	}
}

func TestOlderDockersFindTheFirstPlatformInTheArchive(t *testing.T) {
	amd := programsFor(t, elf.EM_X86_64, "one")
	path := archiveOf(t, amd, programsFor(t, elf.EM_AARCH64, "other"))
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := unpack(t, f)
	var m tarball.Manifest
	if err := json.Unmarshal(files["manifest.json"].content, &m); err != nil || len(m) != 1 {
		t.Fatalf("%d images (%v)", len(m), err)
	}
	if !slices.Equal(m[0].RepoTags, []string{ref}) {
		t.Errorf("it is called %v", m[0].RepoTags)
	}
	var config struct{ Architecture string }
	if err := json.Unmarshal(files[m[0].Config].content, &config); err != nil || config.Architecture != "amd64" {
		t.Errorf("its configuration is for %q (%v)", config.Architecture, err)
	}
	// The library reads it as docker load does, and verifies the digests.
	image, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	root := rootfs(t, image)
	for name, path := range map[string]string{"usr/local/bin/halfclose": amd[0], "usr/local/lib/halfclose/cni/halfclose": amd[1]} {
		if !bytes.Equal(root[name].content, read(t, path)) {
			t.Errorf("%s is another program", name)
		}
	}
}

func TestAProgramThatCannotRunInTheImageIsRefused(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	amd, arm := program(t, elf.EM_X86_64, false, ""), program(t, elf.EM_AARCH64, false, "")
	licences := notices(t)
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"a program that needs a loader", "is not static", []string{"-ref", ref, "-command", program(t, elf.EM_X86_64, true, "")}},
		{"a plugin that needs a loader", "is not static", []string{"-ref", ref, "-command", amd, "-plugin", program(t, elf.EM_X86_64, true, "")}},
		{"a script", "is not a program for Linux", []string{"-ref", ref, "-command", text, "-plugin", amd}},
		{"another machine", "which no image is made for", []string{"-ref", ref, "-command", program(t, elf.EM_RISCV, false, "")}},
		{"one platform twice", "are both for linux/amd64", []string{"-ref", ref, "-command", amd, "-command", program(t, elf.EM_X86_64, false, "")}},
		{"no program", "name the programs", []string{"-ref", ref}},
		{"a program that is neither", "unexpected argument", []string{"-ref", ref, "-command", amd, "-plugin", amd, amd}},
		{"a command without its plugin", "name the plugin for it too", []string{"-ref", ref, "-command", amd, "-command", arm, "-plugin", amd}},
		{"a plugin without its command", "name the command for it too", []string{"-ref", ref, "-command", amd, "-plugin", amd, "-plugin", arm}},
		{"a name without a tag", "-ref", []string{"-ref", "ghcr.io/halfclose/halfclose", "-command", amd, "-plugin", amd}},
		{"no name", "-ref", []string{"-command", amd, "-plugin", amd}},
		{"no licences", "name the directory of the licences", []string{"-ref", ref, "-licenses=", "-command", amd, "-plugin", amd}},
		{"an empty directory of licences", "has no licences", []string{"-ref", ref, "-licenses", t.TempDir(), "-command", amd, "-plugin", amd}},
		{"a time that is none", "-created", []string{"-ref", ref, "-created", "yesterday", "-command", amd, "-plugin", amd}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "image.tar")
			err := run(append([]string{"-o", out, "-licenses", licences}, c.args...), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with %q", err, c.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("there is an archive nevertheless")
			}
		})
	}
}

// TestTheShippedArchiveHoldsTheShippedBinaries reads the archive of make image.
func TestTheShippedArchiveHoldsTheShippedBinaries(t *testing.T) {
	archive := shipped(t)
	dist := filepath.Dir(archive) + "/"
	_, i := index(t, archive)
	platforms, images := images(t, i)
	for _, platform := range platforms {
		root, suffix := rootfs(t, images[platform]), "-"+strings.ReplaceAll(platform, "/", "-")
		for _, name := range []string{"LICENSE", "THIRD_PARTY_NOTICES", "GPL-2.0-only.txt"} {
			if !bytes.Equal(root["usr/share/doc/halfclose/"+name].content, read(t, dist+"share/licenses/"+name)) {
				t.Errorf("%s for %s is not that of make notices", name, platform)
			}
		}
		for name, in := range map[string]string{"usr/local/bin/halfclose": "halfclose", "usr/local/lib/halfclose/cni/halfclose": "halfclose-cni"} {
			if !bytes.Equal(root[name].content, read(t, dist+in+suffix)) {
				t.Errorf("%s for %s is not %s in dist", name, platform, in+suffix)
			}
		}
	}
}

func TestTheDockerfileBuildsTheSameImage(t *testing.T) {
	dockerfile, err := os.ReadFile("../../deploy/image/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, i := index(t, archiveOf(t, programsFor(t, elf.EM_X86_64, "")))
	_, images := images(t, i)
	image, err := images["linux/amd64"].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := image.Config
	want := []string{"FROM scratch", "ARG TARGETOS", "ARG TARGETARCH"}
	for _, h := range image.History { // one COPY for each layer
		words := strings.Fields(h.CreatedBy)
		source := words[1]
		if source != "share/licenses" {
			source += "-${TARGETOS}-${TARGETARCH}"
		}
		want = append(want, words[0]+" "+source+" "+words[2])
	}
	want = append(want,
		"ENV "+strings.Join(c.Env, " "), "USER "+c.User, "WORKDIR "+c.WorkingDir, `ENTRYPOINT ["`+strings.Join(c.Entrypoint, `", "`)+`"]`,
	)
	var got []string
	for line := range strings.Lines(string(dockerfile)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			got = append(got, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("it says\n%q\nwant\n%q", got, want)
	}
}
