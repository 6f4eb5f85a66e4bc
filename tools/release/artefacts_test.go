// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// dist returns the directory of make release, and the files that SHA256SUMS names.
func dist(t *testing.T) (string, []string) {
	t.Helper()
	dir, err := filepath.Abs("../../dist")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		why := fmt.Sprintf("%v: run make release", err)
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	var files []string
	for line := range strings.Lines(string(sums)) {
		_, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("SHA256SUMS has the line %q", line)
		}
		files = append(files, name)
	}
	return dir, files
}

// shippedProgram is a program of a tarball in dist, with the notices beside it.
type shippedProgram struct {
	sbom, path, notices string
}

// shipped unpacks the tarballs of dist, and returns their programs.
func shipped(t *testing.T) []shippedProgram {
	t.Helper()
	dir, files := dist(t)
	var all []shippedProgram
	for _, name := range files {
		base, ok := strings.CutSuffix(name, ".tar.gz")
		if !ok {
			continue
		}
		to := t.TempDir()
		if out, err := exec.Command("tar", "-xzf", filepath.Join(dir, name), "-C", to).CombinedOutput(); err != nil {
			t.Fatalf("unpack %s: %v: %s", name, err, out)
		}
		notices := find(t, to, "THIRD_PARTY_NOTICES")
		if len(notices) != 1 {
			t.Errorf("%s has %d THIRD_PARTY_NOTICES, want one", name, len(notices))
			continue
		}
		for _, program := range []string{"halfclose", "kubectl-halfclose", "kubectl-halfclose.exe"} {
			for _, path := range find(t, to, program) {
				sbom := base
				if filepath.Base(filepath.Dir(path)) == "cni" {
					sbom = strings.Replace(base, "halfclose_", "halfclose-cni_", 1)
				}
				all = append(all, shippedProgram{filepath.Join(dir, sbom+".cdx.json"), path, notices[0]})
			}
		}
	}
	if len(all) < 2 {
		t.Fatalf("dist has the programs %v, want at least the command and the plugin", all)
	}
	return all
}

// find returns the executable programs and the texts of that name below a directory.
func find(t *testing.T, dir, name string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Name() == name && e.Type().IsRegular() {
			if _, notGo := buildinfo.ReadFile(path); notGo == nil || name == "THIRD_PARTY_NOTICES" {
				found = append(found, path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// dependencies returns the modules that a program links, with the standard library and without those of this repository.
func dependencies(t *testing.T, path string) []debug.Module {
	t.Helper()
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := []debug.Module{{Path: standardLibrary, Version: info.GoVersion}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if !strings.HasPrefix(m.Path, ".") {
			all = append(all, *m)
		}
	}
	return all
}

func TestTheSumsAreThoseOfAllFiles(t *testing.T) {
	dir, _ := dist(t)
	check := exec.Command("sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS")
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTarballsLeaveTheModesOfExistingDirectories(t *testing.T) {
	dir, files := dist(t)
	for _, name := range files {
		if !strings.HasSuffix(name, ".tar.gz") {
			continue
		}
		out, err := exec.Command("tar", "-tzf", filepath.Join(dir, name)).Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for member := range strings.Lines(string(out)) {
			switch strings.TrimSpace(member) {
			case "./", "bin/", "lib/", "share/":
				t.Errorf("%s has an entry of %s, whose mode tar gives to the directory of the user", name, member)
			}
		}
	}
}

func TestAReleaseForAllPlatformsHasKubectlsPluginForAllUsers(t *testing.T) {
	_, files := dist(t)
	var linux, clients []string
	for _, name := range files {
		base, isTarball := strings.CutSuffix(name, ".tar.gz")
		_, platform, _ := strings.Cut(base, "_")
		_, platform, _ = strings.Cut(platform, "_") // after the version
		switch {
		case !isTarball:
		case strings.HasPrefix(name, "kubectl-"):
			clients = append(clients, platform)
		default:
			linux = append(linux, platform)
		}
	}
	want := slices.Clone(linux)
	if slices.Equal(linux, []string{"linux_amd64", "linux_arm64"}) {
		want = []string{"darwin_amd64", "darwin_arm64", "linux_amd64", "linux_arm64", "windows_amd64", "windows_arm64"}
	}
	if !slices.Equal(clients, want) {
		t.Errorf("the release is for %v, and has kubectl-halfclose for %v, want %v", linux, clients, want)
	}
}

// TestEveryLinkedModuleIsInTheNotices compares what the toolchain recorded in each program with the notices beside it.
func TestEveryLinkedModuleIsInTheNotices(t *testing.T) {
	for _, p := range shipped(t) {
		notices := text(t, p.notices)
		for _, m := range dependencies(t, p.path) {
			if !strings.Contains(notices, "\n  "+m.Path+" "+m.Version+": ") {
				t.Errorf("%s links %s %s, and its notices do not name it", p.path, m.Path, m.Version)
			}
			if m.Path == standardLibrary {
				continue
			}
			for _, name := range []string{"LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt"} {
				content, err := os.ReadFile(filepath.Join(moduleDir(t, m), name))
				if err == nil && !strings.Contains(notices, strings.TrimRight(string(content), "\n")) {
					t.Errorf("%s links %s %s, and its notices do not have %s", p.path, m.Path, m.Version, name)
				}
			}
		}
	}
}

// moduleDirs are the directories of modules, by path and version.
var moduleDirs = make(map[string]string)

// moduleDir returns the directory of a module in the module cache.
func moduleDir(t *testing.T, m debug.Module) string {
	t.Helper()
	key := m.Path + "@" + m.Version
	if moduleDirs[key] == "" {
		download := exec.Command("go", "mod", "download", "-json", key)
		download.Dir = t.TempDir() // in no module
		out, err := download.Output()
		if err != nil {
			t.Fatalf("download %s: %v", key, err)
		}
		var got struct{ Dir string }
		if err := json.Unmarshal(out, &got); err != nil || got.Dir == "" {
			t.Fatalf("download %s: %s (%v)", key, out, err)
		}
		moduleDirs[key] = got.Dir
	}
	return moduleDirs[key]
}

func TestEveryProgramHasAnSBOMWithItsModules(t *testing.T) {
	schema := bomSchema(t)
	dir, files := dist(t)
	chart, err := filepath.Glob(filepath.Join(dir, "halfclose-chart_*.oci.tar"))
	if err != nil || len(chart) != 1 {
		t.Fatalf("dist has the charts %v (%v)", chart, err)
	}
	version := "v" + strings.TrimSuffix(strings.TrimPrefix(filepath.Base(chart[0]), "halfclose-chart_"), ".oci.tar")
	var described []string
	for _, p := range shipped(t) {
		described = append(described, filepath.Base(p.sbom))
		content, err := os.ReadFile(p.sbom)
		if err != nil {
			t.Error(err)
			continue
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance); err != nil {
			t.Errorf("%s: %v", p.sbom, err)
		}
		var bom cdx.BOM
		if err := cdx.NewBOMDecoder(bytes.NewReader(content), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Fatalf("%s: %v", p.sbom, err)
		}
		if got := bom.Metadata.Component.Version; got != version {
			t.Errorf("%s: the version is %q, want %s", p.sbom, got, version)
		}
		if bom.SerialNumber != "" || bom.Metadata.Timestamp != "" {
			t.Errorf("%s: it has a serial number or a time, which differ from build to build", p.sbom)
		}
		checkComponents(t, p, bom)
		if !hasHashOf(t, bom, p.path) {
			t.Errorf("%s: it does not have the SHA-256 of %s", p.sbom, p.path)
		}
	}
	for _, name := range files {
		if strings.HasSuffix(name, ".cdx.json") && !slices.Contains(described, name) {
			t.Errorf("%s describes no program of the tarballs", name)
		}
	}
}

// checkComponents compares the components of an SBOM with the modules of its program.
func checkComponents(t *testing.T, p shippedProgram, bom cdx.BOM) {
	t.Helper()
	want := make(map[string]bool)
	for _, m := range dependencies(t, p.path) {
		want[m.Path] = true
	}
	for _, c := range *bom.Components {
		if c.Name == mainModule { // of a program in a module of its own
			continue
		}
		if !want[c.Name] {
			t.Errorf("%s has %s, which the program does not link", p.sbom, c.Name)
		}
		delete(want, c.Name)
		if c.Licenses == nil || len(*c.Licenses) == 0 {
			t.Errorf("%s: %s has no licence", p.sbom, c.Name)
		}
	}
	for path := range want {
		t.Errorf("%s does not have %s, which the program links", p.sbom, path)
	}
}

// hasHashOf reports whether an SBOM has the SHA-256 of a program.
func hasHashOf(t *testing.T, bom cdx.BOM, path string) bool {
	t.Helper()
	out, err := exec.Command("sha256sum", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	sum, _, _ := strings.Cut(string(out), " ")
	return slices.ContainsFunc(*bom.Metadata.Properties, func(p cdx.Property) bool {
		return strings.HasSuffix(p.Name, ":binary:hash:SHA-256") && p.Value == sum
	})
}

// bomSchema returns the JSON schema of CycloneDX 1.6, which the library's module has.
func bomSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "schema")
	compiler := jsonschema.NewCompiler()
	const base = "http://cyclonedx.org/schema/"
	for name, file := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		content, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource(base+name, schema); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile(base + "bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}
