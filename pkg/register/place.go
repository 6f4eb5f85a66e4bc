// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package register finds the network namespace that an operator names, and the registrations of it. It is pure, apart from the
// look at the namespaces.
package register

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
)

// Place is the location of a network namespace.
type Place struct {
	Path string // absolute
	PID  string // the process id that the argument was, "" if it was none
}

// Locate resolves an argument NETNS: a path, the id of a process in the namespace, or a name under /run/netns.
func Locate(arg string) (Place, error) { return locate(arg, hostfs.NetnsDirs()) }

func locate(arg string, dirs []string) (Place, error) {
	if arg == "" {
		return Place{}, cmdline.AsUsage(fmt.Errorf("NETNS is empty: want a path, a process id or a name under %s", dirs[0]))
	}
	if IsPath(arg) {
		path, err := filepath.Abs(arg)
		if err == nil && isOwnProc(path) {
			err = cmdline.AsUsage(fmt.Errorf("%s is another namespace for each process: replace %s by a process id",
				safetext.Escape(arg), safetext.Escape(strings.Split(path, "/")[2])))
		}
		return Place{Path: path}, err
	}
	named := ""
	for _, dir := range dirs {
		if _, err := os.Lstat(filepath.Join(dir, arg)); err == nil {
			named = filepath.Join(dir, arg)
			break
		}
	}
	switch {
	case isPID(arg) && named != "":
		return Place{}, cmdline.AsUsage(fmt.Errorf("%s is a process id and a name: use %s or %s", arg, ProcPath(arg), named))
	case isPID(arg):
		return Place{Path: ProcPath(arg), PID: arg}, nil
	case named == "":
		return Place{}, fmt.Errorf("no namespace %q in %s: want a path, a process id or an existing name",
			arg, strings.Join(dirs, " or "))
	}
	return Place{Path: named}, nil
}

// IsPath reports whether an argument NETNS is a path.
func IsPath(arg string) bool { return strings.Contains(arg, "/") || arg == "." || arg == ".." }

func isPID(arg string) bool { return arg != "" && strings.Trim(arg, "0123456789") == "" }

// ProcPath returns the path of a process's namespace, which is valid while the process lives.
func ProcPath(pid string) string { return "/proc/" + pid + "/ns/net" }

// isOwnProc reports whether a path means another namespace for each process.
func isOwnProc(path string) bool {
	return strings.HasPrefix(path, "/proc/self/") || strings.HasPrefix(path, "/proc/thread-self/")
}

// ProcessOf returns the process id in a path under /proc, "" for other paths.
func ProcessOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/proc/")
	pid, _, below := strings.Cut(rest, "/")
	if !ok || !below || !isPID(pid) {
		return ""
	}
	return pid
}

// NameOf derives the name of a registration from the path of its namespace. It is "" if no character is valid in a name.
func NameOf(path string) string {
	text := filepath.Base(path)
	if pid := ProcessOf(path); pid != "" {
		rest := strings.TrimPrefix(path, "/proc/"+pid)
		text = "pid-" + pid + strings.TrimSuffix(rest, "/ns/net")
	}
	name := strings.Map(func(r rune) rune {
		if r == '_' || r == '.' || r == '-' || isAlphanumeric(r) {
			return r
		}
		return '-'
	}, text)
	return strings.TrimLeft(name, "_.-") // a container ID begins with a letter or a digit
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// MountedAt returns the path under /run/netns where the namespace is mounted, "" if there is none.
func MountedAt(id netns.Identity) string {
	for _, path := range mounts(hostfs.NetnsDirs()) {
		if h, err := netns.Open(path); err == nil {
			same := h.Stat().Same(id)
			h.Close()
			if same {
				return path
			}
		}
	}
	return ""
}

// mounts lists the files in dirs.
func mounts(dirs []string) []string {
	var all []string
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir) // most nodes have only one of the directories
		for _, e := range entries {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all
}

// HostOwner returns the owner of a protected namespace: this command's, or that of process 1. It is "" for any other. If the
// namespace of process 1 is hidden, only this command's own is detected, as in the reaper, and warning reports that.
func HostOwner(h *netns.Handle) (owner, warning string, err error) {
	host, err := netns.FindHost()
	switch {
	case err != nil:
		return "", "", err
	case host.Own.Same(h.Stat()):
		return "this command's own", "", nil
	case host.PID1Err != nil:
		return "", "cannot check that it is not the network namespace of process 1: make sure that it is not the host's own", nil
	case host.PID1.Same(h.Stat()):
		return "that of process 1", "", nil
	}
	return "", "", nil
}

// CompleteName returns the names under /run/netns that begin with toComplete, or files if the shell completes a path.
func CompleteName(toComplete string) (names []string, files bool) {
	return completeName(toComplete, hostfs.NetnsDirs())
}

func completeName(toComplete string, dirs []string) (names []string, files bool) {
	if IsPath(toComplete) {
		return nil, true
	}
	for _, path := range mounts(dirs) {
		if name := filepath.Base(path); strings.HasPrefix(name, toComplete) && safetext.IsPrintable(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), false
}

// Explain explains a missing namespace of a process.
func (p Place) Explain(err error) error {
	if p.PID != "" && errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no process %s: %w", p.PID, err)
	}
	return err
}
