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

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/term"
)

// located is where a namespace is.
type located struct {
	path string // absolute
	pid  string // of the process whose namespace was asked for, "" if none was
}

// locate says where the namespace is that somebody names: by a path, by the id of a process in it, or by its
// name in one of dirs.
func locate(arg string, dirs []string) (located, error) {
	if arg == "" {
		return located{}, usageError{fmt.Errorf("NETNS is a path, a process id or a name under %s, not empty", dirs[0])}
	}
	if isPath(arg) {
		path, err := filepath.Abs(arg)
		if err == nil && isOwnProc(path) {
			err = usageError{fmt.Errorf("%s leads every process to its own namespace: write the process id in place of %s",
				term.Clean(arg), term.Clean(strings.Split(path, "/")[2]))}
		}
		return located{path: path}, err
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
		return located{}, usageError{fmt.Errorf("%s can be a process id or a name: write %s or %s", arg, procPath(arg), named)}
	case isPID(arg):
		return located{path: procPath(arg), pid: arg}, nil
	case named == "":
		return located{}, fmt.Errorf("there is no namespace %q in %s: give a path, a process id or a name that is there",
			arg, strings.Join(dirs, " or "))
	}
	return located{path: named}, nil
}

func isPath(arg string) bool { return strings.Contains(arg, "/") || arg == "." || arg == ".." }

func isPID(arg string) bool { return arg != "" && strings.Trim(arg, "0123456789") == "" }

// procPath leads to the namespace of a process for as long as that lives.
func procPath(pid string) string { return "/proc/" + pid + "/ns/net" }

// isOwnProc reports whether a path means another namespace to each process that follows it.
func isOwnProc(path string) bool {
	return strings.HasPrefix(path, "/proc/self/") || strings.HasPrefix(path, "/proc/thread-self/")
}

// processOf returns the process that a path under /proc is of, "" if it is none.
func processOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/proc/")
	pid, _, below := strings.Cut(rest, "/")
	if !ok || !below || !isPID(pid) {
		return ""
	}
	return pid
}

// nameOf makes a name for a registration of the namespace at path: "" if it has nothing to make one of.
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

// mountedAt returns a path in dirs that leads to the namespace, "" if there is none.
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

// mounts lists what is in dirs.
func mounts(dirs []string) []string {
	var all []string
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir) // most nodes have but one of the two
		for _, e := range entries {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all
}

// whose says whose own a namespace is that is not for halfclose to touch: this command's, or the first
// process's. It is "" for any other. Where the first process's cannot be seen, doubt says so: as for the reaper
// it is then only this command's own that is sure to be refused.
func whose(h *netns.Handle) (owner, doubt string, err error) {
	host, err := netns.FindHost()
	switch {
	case err != nil:
		return "", "", err
	case host.Own.Same(h.Stat()):
		return "this command's own", "", nil
	case host.PID1Err != nil:
		return "", "whether it is the network namespace of process 1 cannot be seen: make sure that it is not the host's own", nil
	case host.PID1.Same(h.Stat()):
		return "that of process 1", "", nil
	}
	return "", "", nil
}

// completeNetns lets a namespace be completed for cobra.
func completeNetns(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	names, files := namesOf(toComplete, hostfs.NetnsDirs())
	if files {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// namesOf completes the name of a namespace; paths are the shell's to complete.
func namesOf(toComplete string, dirs []string) (names []string, files bool) {
	if isPath(toComplete) {
		return nil, true
	}
	for _, path := range mounts(dirs) {
		if name := filepath.Base(path); strings.HasPrefix(name, toComplete) && term.Clean(name) == name {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), false
}

// explainProcess says why the namespace of a process is not there.
func explainProcess(pid string, err error) error {
	if pid != "" && errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no process %s runs here: %w", pid, err)
	}
	return err
}
