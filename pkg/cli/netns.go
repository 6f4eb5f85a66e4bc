// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
)

// netnsPath is the location of a network namespace.
type netnsPath struct {
	path string // absolute
	pid  string // the process id that the argument was, "" if it was none
}

// locate resolves an argument NETNS: a path, the id of a process in the namespace, or a name in one of dirs.
func locate(arg string, dirs []string) (netnsPath, error) {
	if arg == "" {
		return netnsPath{}, cmdline.AsUsage(fmt.Errorf("NETNS is empty: want a path, a process id or a name under %s", dirs[0]))
	}
	if isPath(arg) {
		path, err := filepath.Abs(arg)
		if err == nil && isOwnProc(path) {
			err = cmdline.AsUsage(fmt.Errorf("%s is another namespace for each process: replace %s by a process id",
				safetext.Escape(arg), safetext.Escape(strings.Split(path, "/")[2])))
		}
		return netnsPath{path: path}, err
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
		return netnsPath{}, cmdline.AsUsage(fmt.Errorf("%s is a process id and a name: use %s or %s", arg, procPath(arg), named))
	case isPID(arg):
		return netnsPath{path: procPath(arg), pid: arg}, nil
	case named == "":
		return netnsPath{}, fmt.Errorf("no namespace %q in %s: want a path, a process id or an existing name",
			arg, strings.Join(dirs, " or "))
	}
	return netnsPath{path: named}, nil
}

func isPath(arg string) bool { return strings.Contains(arg, "/") || arg == "." || arg == ".." }

func isPID(arg string) bool { return arg != "" && strings.Trim(arg, "0123456789") == "" }

// procPath returns the path of a process's namespace, which is valid while the process lives.
func procPath(pid string) string { return "/proc/" + pid + "/ns/net" }

// isOwnProc reports whether a path means another namespace for each process.
func isOwnProc(path string) bool {
	return strings.HasPrefix(path, "/proc/self/") || strings.HasPrefix(path, "/proc/thread-self/")
}

// processOf returns the process id in a path under /proc, "" for other paths.
func processOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/proc/")
	pid, _, below := strings.Cut(rest, "/")
	if !ok || !below || !isPID(pid) {
		return ""
	}
	return pid
}

// nameOf derives the name of a registration from the path of its namespace. It is "" if no character is valid in a name.
func nameOf(path string) string {
	text := filepath.Base(path)
	if pid := processOf(path); pid != "" {
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

// mountedAt returns the path in dirs where the namespace is mounted, "" if there is none.
func mountedAt(id netns.Identity, dirs []string) string {
	for _, path := range mounts(dirs) {
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

// hostOwner returns the owner of a protected namespace: this command's, or that of process 1. It is "" for any other. If the
// namespace of process 1 is hidden, only this command's own is detected, as in the reaper, and warning reports that.
func hostOwner(h *netns.Handle) (owner, warning string, err error) {
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

// completeNetns completes an argument NETNS.
func completeNetns(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	names, files := namesOf(toComplete, hostfs.NetnsDirs())
	if files {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// namesOf completes the name of a namespace. It leaves paths to the shell.
func namesOf(toComplete string, dirs []string) (names []string, files bool) {
	if isPath(toComplete) {
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

// explainProcess explains a missing namespace of a process.
func explainProcess(pid string, err error) error {
	if pid != "" && errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no process %s: %w", pid, err)
	}
	return err
}
