// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/pluginbuild"
)

// binary is the plugin, where runtimes look for it, and the program beside it that ADD starts as the reaper.
type binary struct {
	path   string // on the host
	err    error  // of looking for it
	mode   fs.FileMode
	self   bool           // it is the program that this process runs: the command
	info   buildinfo.Info // what it says it is; zero if it does not
	run    error          // of asking it
	reaper sibling
}

// sibling is the program that ADD starts as the reaper.
type sibling struct {
	path string         // with every link resolved
	err  error          // why ADD does not start it
	self bool           // it is the program that this process runs
	info buildinfo.Info // what it says it is
	run  error          // of asking it
}

func inspectBinary(ctx context.Context, h hostfs.Dir, path string) binary {
	b := binary{path: path}
	at, err := h.Resolve(path)
	if err != nil {
		b.err = err
		return b
	}
	info, err := os.Stat(at)
	if err != nil {
		b.err = err
		return b
	}
	b.mode, b.self = info.Mode(), isSelf(info)
	var asked sync.WaitGroup // of plugin and command at once: a plugin that hangs leaves time to ask the command
	if b.mode.IsRegular() && b.mode&0o111 != 0 && !b.self {
		asked.Go(func() { b.info, b.run = pluginbuild.Ask(ctx, at) })
	}
	b.reaper = inspectSibling(ctx, h, path)
	asked.Wait()
	return b
}

// inspectSibling finds the program as ADD does, and asks it for its version if ADD would start it.
func inspectSibling(ctx context.Context, h hostfs.Dir, plugin string) sibling {
	p, err := launch.SiblingOf(string(h), plugin)
	if err != nil {
		return sibling{err: err}
	}
	defer p.Close()
	s := sibling{path: p.Path()}
	at, err := h.Resolve(s.path)
	if err != nil {
		s.run = err
		return s
	}
	if info, err := os.Stat(at); err == nil && isSelf(info) {
		s.self = true
		return s
	}
	s.info, s.run = pluginbuild.AskCommand(ctx, at)
	return s
}

// isSelf reports whether a file is the program that this process runs.
func isSelf(info fs.FileInfo) bool {
	own, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(own, info)
}

// judgeBinary says whether the runtime can run the plugin that is chained.
func judgeBinary(b binary) []Finding {
	f := Finding{Check: "cni-binary", Level: Fail}
	const install = "run halfclose install on the host"
	own := buildinfo.Get()
	switch {
	case errors.Is(b.err, fs.ErrNotExist):
		f.What, f.Do = fmt.Sprintf("there is no %s, though halfclose is chained: no container starts", b.path), install+"; or name the directory with --cni-bin-dir"
	case b.err != nil:
		f.Level, f.What, f.Do = Warn, fmt.Sprintf("%s cannot be looked at: %v", b.path, b.err), "run it as root"
	case !b.mode.IsRegular():
		f.What, f.Do = fmt.Sprintf("%s is no regular file (%s), though halfclose is chained: no container starts", b.path, b.mode), install
	case b.mode&0o111 == 0:
		f.What, f.Do = fmt.Sprintf("%s cannot be executed (%s), though halfclose is chained: no container starts", b.path, b.mode), "chmod 755 "+b.path
	case b.self:
		f.What = fmt.Sprintf("%s is the command that runs here and not the plugin, though halfclose is chained: no container starts", b.path)
		f.Do = "move the command to another directory, such as /usr/local/bin, and " + install
	case errors.Is(b.run, fs.ErrPermission):
		f.Level, f.What, f.Do = Warn, fmt.Sprintf("%s cannot be run to ask for its version: %v", b.path, b.run), "run it as root; see whether its file system is mounted noexec"
	case b.run != nil:
		f.What, f.Do = fmt.Sprintf("%s does not answer as a plugin: %v", b.path, b.run), "see whether it is halfclose, for this machine ("+own.Platform+"); "+install
	case b.info == buildinfo.Info{}:
		f.Level, f.What = Warn, fmt.Sprintf("%s does not say which build of halfclose it is: it is older than this (%s), or another plugin", b.path, own.Version)
		f.Do = install
	case b.info.Build() != own.Build():
		f.Level, f.What = Warn, fmt.Sprintf("%s is %s, and this is %s", b.path, b.info, own)
		f.Do = "run halfclose install of the newer of the two on the host"
	default:
		f.Level, f.What = OK, fmt.Sprintf("%s is there, and of the same build as this (%s)", b.path, own.Version)
	}
	return []Finding{f}
}

// judgeSibling says whether ADD can start a reaper.
func judgeSibling(b binary) []Finding {
	f := Finding{Check: "auto-start", Level: Warn}
	own, s := buildinfo.Get(), b.reaper
	switch {
	case b.err != nil: // the plugin's finding reports it
		return nil
	case errors.Is(s.err, fs.ErrPermission):
		f.What, f.Do = fmt.Sprintf("what ADD starts as the reaper cannot be looked at: %v", s.err), "run it as root"
	case s.err != nil:
		f.What = fmt.Sprintf("ADD does not start a reaper where none runs: %v", s.err)
		f.Do = "run halfclose install on the host, from a directory that is root's and writable by root alone, or with --copy; or run halfclose reaper as a service and install with --reaper external"
	case s.self:
		f.Level, f.What = OK, fmt.Sprintf("ADD starts the command that runs here as the reaper (%s)", s.path)
	case s.run != nil:
		f.What, f.Do = fmt.Sprintf("%s, which ADD starts as the reaper, does not say its version: %v", s.path, s.run), "run halfclose install on the host"
	case s.info.Build() != own.Build():
		f.What = fmt.Sprintf("%s, which ADD starts as the reaper, is %s, and this is %s", s.path, s.info, own)
		f.Do = "run halfclose install of the newer of the two on the host"
	default:
		f.Level, f.What = OK, fmt.Sprintf("ADD starts %s as the reaper, of the same build as this (%s)", s.path, own.Version)
	}
	return []Finding{f}
}
