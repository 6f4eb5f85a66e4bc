// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tree is a working tree with scripts/version.sh and a chart of version 0.3.0.
type tree string

func newTree(t *testing.T) tree {
	t.Helper()
	dir := tree(t.TempDir())
	dir.write(t, "scripts/version.sh", text(t, "../../scripts/version.sh"), 0o755)
	dir.write(t, "deploy/kubernetes/chart/Chart.yaml", "apiVersion: v2\nname: halfclose\nversion: 0.3.0\nappVersion: v0.3.0\n", 0o644)
	return dir
}

// write writes a file of the tree.
func (d tree) write(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(string(d), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// git runs git in the tree, with no configuration of this machine.
func (d tree) git(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = string(d)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
}

// version returns what scripts/version.sh prints.
func (d tree) version(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(string(d), "scripts/version.sh")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestTheVersionIsTheTagsOrAPreReleaseOfTheChartsVersion(t *testing.T) {
	// A version for Go, Helm, Debian and RPM, and a tag for an image: semantic, without +.
	valid := regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)
	for _, c := range []struct {
		name, want string
		prepare    func(*testing.T, tree)
	}{
		{"without git", `^0\.3\.0-dev$`, func(*testing.T, tree) {}},
		{"a commit", `^0\.3\.0-dev\.g[0-9a-f]{12}$`, func(t *testing.T, d tree) { d.commit(t) }},
		{"a commit with changes", `^0\.3\.0-dev\.g[0-9a-f]{12}\.dirty$`, func(t *testing.T, d tree) {
			d.commit(t)
			d.change(t)
		}},
		{"a tag", `^0\.3\.0$`, func(t *testing.T, d tree) {
			d.commit(t)
			d.git(t, "tag", "v0.3.0")
		}},
		{"an annotated tag of a pre-release", `^0\.3\.0-rc\.1$`, func(t *testing.T, d tree) {
			d.commit(t)
			d.git(t, "tag", "-a", "-m", "v0.3.0-rc.1", "v0.3.0-rc.1")
		}},
		{"a tag with changes", `^0\.3\.0-dev\.g[0-9a-f]{12}\.dirty$`, func(t *testing.T, d tree) {
			d.commit(t)
			d.git(t, "tag", "v0.3.0")
			d.change(t)
		}},
		{"a commit after a tag", `^0\.3\.0-dev\.g[0-9a-f]{12}$`, func(t *testing.T, d tree) {
			d.commit(t)
			d.git(t, "tag", "v0.2.0")
			d.change(t)
			d.git(t, "commit", "-q", "-a", "-m", "two")
		}},
		{"a tag that is no version", `^0\.3\.0-dev\.g[0-9a-f]{12}$`, func(t *testing.T, d tree) {
			d.commit(t)
			d.git(t, "tag", "nightly")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newTree(t)
			c.prepare(t, d)
			got := d.version(t)
			if !regexp.MustCompile(c.want).MatchString(got) || !valid.MatchString(got) {
				t.Errorf("the version is %q, want %s", got, c.want)
			}
		})
	}
}

func TestAnUnpackedArchiveInARepositoryHasNotItsVersion(t *testing.T) {
	outer := tree(t.TempDir())
	outer.write(t, "file", "one", 0o644)
	outer.commit(t)
	outer.git(t, "tag", "v9.9.9")
	inner := tree(filepath.Join(string(outer), "halfclose"))
	inner.write(t, "scripts/version.sh", text(t, "../../scripts/version.sh"), 0o755)
	inner.write(t, "deploy/kubernetes/chart/Chart.yaml", "version: 0.3.0\n", 0o644)
	if got := inner.version(t); got != "0.3.0-dev" {
		t.Errorf("the version is %q, want 0.3.0-dev", got)
	}
}

// commit commits all files of the tree, in a repository that it creates.
func (d tree) commit(t *testing.T) {
	t.Helper()
	d.git(t, "init", "-q")
	d.git(t, "add", "-A")
	d.git(t, "commit", "-q", "-m", "one")
}

// change changes a committed file.
func (d tree) change(t *testing.T) {
	t.Helper()
	d.write(t, "deploy/kubernetes/chart/Chart.yaml", "version: 0.3.0\n# changed\n", 0o644)
}
