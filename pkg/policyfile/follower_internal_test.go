// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/dirwatch"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/policy"
)

// patience bounds a wait for an event that must happen, even on a busy machine.
const patience = 30 * time.Second

// testFile is a policy file of a test, with a state directory. Its clock moves on by two seconds with each reading, so that a
// file that is gone is gone for good.
type testFile struct {
	t *testing.T
	*reader
	now time.Time
}

func newTestFile(t *testing.T) *testFile {
	t.Helper()
	dir := t.TempDir()
	f := &testFile{t: t, now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)}
	f.restart(Location{Path: filepath.Join(dir, "etc", "policy.yaml"), Copy: filepath.Join(dir, "state", "policy.json")})
	f.do(os.Mkdir(filepath.Dir(f.at.Path), 0o755))
	return f
}

func (f *testFile) do(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// restart replaces the reader with one that only knows the files.
func (f *testFile) restart(at Location) {
	f.reader = &reader{at: at, wall: func() time.Time { return f.now }}
}

func (f *testFile) write(text string) {
	f.t.Helper()
	f.do(os.WriteFile(f.at.Path, []byte(text), 0o644))
}

// readLater reads the file twice, two seconds apart, and saves the copy.
func (f *testFile) readLater() Current {
	f.t.Helper()
	f.read()
	f.now = f.now.Add(2 * time.Second)
	c := f.read()
	if problem := f.save(); problem != "" {
		f.t.Error(problem)
	}
	return c
}

func withGrace(grace string) string {
	return fmt.Sprintf("version: 1\npods:\n- match: {namespace: shop}\n  set: {grace: %s}\n", grace)
}

// graceOf returns the grace of a pod in CLOSE_WAIT, and whether it is only observed.
func graceOf(c Current) string {
	p := c.Resolve(policy.Layers{}, Facts{Namespace: "shop", Pod: "web", Network: "net", ID: "1"}, 0).Policies[0]
	return p.CloseWaitGrace.String() + " " + p.Mode.String()
}

// want checks what is in force: the pod's grace and mode, and a part of each problem.
func (f *testFile) want(what, grace string, problems ...string) {
	f.t.Helper()
	c := f.readLater()
	if got := graceOf(c); got != grace {
		f.t.Errorf("%s: %s, want %s", what, got, grace)
	}
	if len(c.Problems) != len(problems) {
		f.t.Errorf("%s: problems %v, want %q", what, c.Problems, problems)
		return
	}
	for i, p := range c.Problems {
		if !strings.Contains(p.String(), problems[i]) {
			f.t.Errorf("%s: problem %s, want %s", what, p, problems[i])
		}
	}
}

const (
	unchanged = "1h destroy" // as without a policy file
	observed  = "1h observe"
)

func TestAnAbsentFileIsNoFileUnlessItIsNamedOrWasThere(t *testing.T) {
	f := newTestFile(t)
	f.want("absent", unchanged)
	at := f.at
	at.Named = true
	f.restart(at)
	f.want("named and absent", observed, "the file does not exist, and --policy-file names it: restore it, or write")
	f.write(withGrace("2m"))
	f.want("written", "2m destroy")
	at.Named = false
	f.restart(at)
	f.do(os.Remove(at.Path))
	f.want("deleted, by a new reaper", "2m destroy", `the file was deleted: restore it, or write "version: 1" and "pods: []" into it for no entries`)
}

func TestAWrongFileLeavesTheLastGoodOneInForceAlsoOverARestart(t *testing.T) {
	typo := strings.Replace(withGrace("5m"), "grace", "grase", 1)
	for _, tt := range []struct {
		name, problem string
		damage        func(path string) error
	}{
		{"a typo", `line 4, pods[0].set.grase: unknown key, did you mean "grace"?`, func(path string) error { return os.WriteFile(path, []byte(typo), 0o644) }},
		{"truncated", `the file is empty: write "version: 1" and "pods: []"`, func(path string) error { return os.Truncate(path, 0) }},
		{"cut", `not YAML`, func(path string) error { return os.Truncate(path, 42) }},
		{"deleted", "the file was deleted: restore it, or write", os.Remove},
		{"its directory deleted", "the file was deleted: restore it, or write", func(path string) error { return os.RemoveAll(filepath.Dir(path)) }},
		{"a directory", "not a regular file", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) }},
		{"a dangling link", "leads to", func(path string) error { return errors.Join(os.Remove(path), os.Symlink("gone", path)) }},
		{"writable by its group", "writable by other users than root (mode 0664): run chmod go-w", func(path string) error { return os.Chmod(path, 0o664) }},
		{"in a directory that others can write to", "run chmod go-w", func(path string) error { return os.Chmod(filepath.Dir(path), 0o777) }},
		{"too large", "larger than 262144 bytes", func(path string) error { return os.Truncate(path, MaxBytes+1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newTestFile(t)
			f.write(withGrace("2m"))
			f.want("good", "2m destroy")
			f.do(tt.damage(f.at.Path))
			f.want("wrong", "2m destroy", tt.problem)
			f.restart(f.at)
			f.want("wrong after a restart", "2m destroy", tt.problem)
			if c := f.current; !c.Stale() || c.Digest == "" || !c.Since.Before(f.now) {
				t.Errorf("in force: %+v", c)
			}
			_ = os.RemoveAll(f.at.Path)
			f.do(os.MkdirAll(filepath.Dir(f.at.Path), 0o755))
			f.do(os.Chmod(filepath.Dir(f.at.Path), 0o755))
			f.write(withGrace("3m"))
			f.want("corrected", "3m destroy")
		})
	}
}

func TestWithoutALastGoodFileEveryPodIsObserved(t *testing.T) {
	for name, prepare := range map[string]func(f *testFile){
		"never good":      func(f *testFile) { f.write("version: 1\npods: [") },
		"a damaged copy":  func(f *testFile) { f.keep(); f.do(os.WriteFile(f.at.Copy, []byte(`{"version": 1,`), 0o600)) },
		"a changed copy":  func(f *testFile) { f.keep(); f.replaceInCopy("2m", "2s") },
		"an empty copy":   func(f *testFile) { f.keep(); f.do(os.Truncate(f.at.Copy, 0)) },
		"a foreign copy":  func(f *testFile) { f.keep(); f.do(os.Chmod(filepath.Dir(f.at.Copy), 0o777)) },
		"of another path": func(f *testFile) { f.keep(); f.replaceInCopy("policy.yaml", "p.yaml"); f.write("pods: [") },
		"a later version": func(f *testFile) { f.keep(); f.replaceInCopy(`"version": 1`, `"version": 2`) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newTestFile(t)
			prepare(f)
			f.restart(f.at)
			f.read()
			f.now = f.now.Add(2 * time.Second)
			c := f.read()
			if graceOf(c) != observed || len(c.Problems) == 0 {
				t.Errorf("%s, problems %v", graceOf(c), c.Problems)
			}
			f.do(os.RemoveAll(filepath.Dir(f.at.Copy)))
			f.write(NoEntries)
			f.want("corrected", unchanged)
		})
	}
}

// keep makes the file good, and then deletes it, so that only the copy has its content.
func (f *testFile) keep() {
	f.t.Helper()
	f.write(withGrace("2m"))
	f.want("good", "2m destroy")
	f.do(os.Remove(f.at.Path))
}

func (f *testFile) replaceInCopy(old, with string) {
	f.t.Helper()
	data, err := os.ReadFile(f.at.Copy)
	f.do(err)
	changed := strings.Replace(string(data), old, with, 1)
	if changed == string(data) {
		f.t.Fatalf("no %s in %s", old, data)
	}
	f.do(os.WriteFile(f.at.Copy, []byte(changed), 0o600))
}

func TestAFileWithoutEntriesMayBeDeleted(t *testing.T) {
	f := newTestFile(t)
	f.write(withGrace("2m"))
	f.want("entries", "2m destroy")
	f.write(NoEntries)
	f.want("no entries", unchanged)
	f.do(os.Remove(f.at.Path))
	f.want("deleted", unchanged)
	f.restart(f.at)
	f.want("deleted, after a restart", unchanged)
	if _, err := os.Stat(f.at.Copy); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its copy: %v", err)
	}
}

func TestACopyThatCannotBeWrittenIsEmptied(t *testing.T) {
	f := newTestFile(t)
	f.write(withGrace("2m"))
	f.want("good", "2m destroy")
	var outcomes []error
	f.at.Wrote = func(err error) { outcomes = append(outcomes, err) }
	f.do(os.Chmod(filepath.Dir(f.at.Copy), 0o777)) // StoreFile refuses it
	f.write(withGrace("3h"))
	if c := f.read(); graceOf(c) != "3h destroy" {
		t.Errorf("in force: %s", graceOf(c))
	}
	if problem := f.save(); !strings.Contains(problem, "after a restart with a wrong file every pod is only observed") {
		t.Errorf("problem %q", problem)
	}
	if info, err := os.Stat(f.at.Copy); err != nil || info.Size() != 0 {
		t.Errorf("the copy with the shorter grace is still there: %v, %v", info, err)
	}
	if c := f.read(); c.CopyProblem == "" || graceOf(c) != "3h destroy" {
		t.Errorf("got %+v", c)
	}
	f.do(os.Chmod(filepath.Dir(f.at.Copy), 0o700))
	if problem := f.save(); problem != "" || len(outcomes) != 2 || outcomes[0] == nil || outcomes[1] != nil {
		t.Errorf("problem %q, outcomes %v", problem, outcomes)
	}
	f.restart(f.at)
	f.do(os.Remove(f.at.Path))
	f.want("after a restart", "3h destroy", "deleted")
}

func TestAFileThatIsOpenForWritingIsReadWhenItIsClosed(t *testing.T) {
	f := newTestFile(t)
	f.write(withGrace("2m"))
	f.want("good", "2m destroy")
	writer, err := os.OpenFile(f.at.Path, os.O_WRONLY|os.O_TRUNC, 0)
	f.do(err)
	for _, text := range []string{"version: 1\n", "pods:\n", "- match: {namespace: shop}\n  set: {grace: 3m}\n", "- match: {namespace: shop}\n  set: {grace: 4m}\n"} {
		_, err := writer.WriteString(text)
		f.do(err)
		f.now = f.now.Add(time.Second)
		if c := f.read(); graceOf(c) != "2m destroy" || len(c.Problems) > 0 {
			t.Errorf("after %q: %s, %v", text, graceOf(c), c.Problems)
		}
	}
	f.now = f.now.Add(maxWriteTime)
	if c := f.read(); graceOf(c) != "2m destroy" || !strings.Contains(c.Problems.Error(), "is being written") {
		t.Errorf("after a long time: %s, %v", graceOf(c), c.Problems)
	}
	f.do(writer.Close())
	f.want("closed", "4m destroy")
}

// follow runs a follower, and returns the latest value that it has announced.
func follow(t *testing.T, at Location) (latest func() Current, f *Follower) {
	t.Helper()
	notify := dirwatch.NewInstance()
	t.Cleanup(func() { notify.Close() })
	f = NewFollower(at, time.Now, notify)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	last := <-f.Changes()
	return func() Current {
		select {
		case last = <-f.Changes():
		default:
		}
		return last
	}, f
}

func TestKubernetesSymlinkSwapsAreFollowed(t *testing.T) {
	t.Parallel()
	f := newTestFile(t)
	dir := filepath.Dir(f.at.Path)
	// A ConfigMap's volume: policy.yaml -> ..data/policy.yaml, and ..data -> the directory of a version (AtomicWriter).
	publish := func(version, grace string) {
		t.Helper()
		f.do(os.Mkdir(filepath.Join(dir, version), 0o755))
		f.do(os.WriteFile(filepath.Join(dir, version, "policy.yaml"), []byte(withGrace(grace)), 0o644))
		f.do(os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		f.do(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	publish("..2026_1", "2m")
	f.do(os.Symlink("..data/policy.yaml", f.at.Path))
	latest, _ := follow(t, f.at)
	if got := graceOf(latest()); got != "2m destroy" {
		t.Errorf("at the start: %s", got)
	}
	for i, grace := range []string{"3m", "4m", "5m"} {
		publish("..2026_"+fmt.Sprint(i+2), grace)
		f.do(os.RemoveAll(filepath.Join(dir, "..2026_"+fmt.Sprint(i+1))))
		nstest.Eventually(t, patience, grace, func() bool { return graceOf(latest()) == grace+" destroy" })
	}
}

func TestChangesOfEveryKindAreFollowed(t *testing.T) {
	t.Parallel()
	f := newTestFile(t)
	f.do(os.Remove(filepath.Dir(f.at.Path)))
	latest, follower := follow(t, f.at)
	eventually := func(what, want string) {
		t.Helper()
		nstest.Eventually(t, patience, what, func() bool { return graceOf(latest()) == want })
	}
	f.do(os.Mkdir(filepath.Dir(f.at.Path), 0o755))
	f.write(withGrace("2m"))
	eventually("created with its directory", "2m destroy")
	f.write(withGrace("3m"))
	eventually("written in place", "3m destroy")
	f.do(os.WriteFile(f.at.Path+".new", []byte(withGrace("4m")), 0o644))
	f.do(os.Rename(f.at.Path+".new", f.at.Path))
	eventually("renamed", "4m destroy")
	f.do(os.Rename(filepath.Dir(f.at.Path), filepath.Dir(f.at.Path)+".old"))
	f.do(os.Mkdir(filepath.Dir(f.at.Path), 0o755))
	f.write(withGrace("5m"))
	eventually("in another directory", "5m destroy")
	f.write(withGrace("6m"))
	if c, ok := follower.Refresh(t.Context()); !ok || graceOf(c) != "6m destroy" {
		t.Errorf("asked at once: %s", graceOf(c))
	}
}

func TestAConfigMapsDirectoryCountsAlthoughItsModeIs0777(t *testing.T) {
	f := newTestFile(t)
	dir := filepath.Dir(f.at.Path)
	f.write(withGrace("2m"))
	f.do(os.Chmod(dir, 0o777))
	f.do(os.Symlink("..2026_1", filepath.Join(dir, "..data")))
	f.want("writable", observed, "writable by other users than root")
	for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
		err := unix.Mount(dir, dir, "", flags, "")
		if errors.Is(err, unix.EPERM) {
			nstest.NeedPrivilege(t, "mount a directory", err)
		}
		f.do(err)
	}
	t.Cleanup(func() { f.do(unix.Unmount(dir, unix.MNT_DETACH)) })
	f.want("read-only, and a mount of its own", "2m destroy")
	f.do(unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT, ""))
	f.do(os.Remove(filepath.Join(dir, "..data")))
	f.do(unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	f.want("read-only, without the kubelet's link", "2m destroy", "writable by other users than root")
}

func TestAnotherUsersFileOrLinkIsWrong(t *testing.T) {
	if os.Geteuid() != 0 {
		nstest.NeedPrivilege(t, "give a file away", unix.EPERM)
	}
	f := newTestFile(t)
	f.write(withGrace("2m"))
	f.do(os.Chown(f.at.Path, 1000, 1000))
	f.want("another user's file", observed, "not owned by root but by user 1000: run chown")
	f.do(os.Chown(f.at.Path, 0, 0))
	f.want("root's file", "2m destroy")
	f.do(os.Rename(f.at.Path, f.at.Path+".real"))
	f.do(os.Symlink("policy.yaml.real", f.at.Path))
	f.want("root's link", "2m destroy")
	f.do(os.Lchown(f.at.Path, 1000, 1000))
	f.want("another user's link", "2m destroy", "not owned by root but by user 1000")
}
