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

// binary is the plugin in the runtime's plugin directory, and the program next to it that ADD starts as the reaper.
type binary struct {
	path   string // on the host
	err    error  // of finding it
	mode   fs.FileMode
	self   bool           // it is the program of this process: the command
	info   buildinfo.Info // zero if it reports none
	run    error          // of running it
	reaper sibling
}

// sibling is the program that ADD starts as the reaper.
type sibling struct {
	path string // with every link resolved
	err  error  // why ADD does not start it
	self bool   // it is the program of this process
	info buildinfo.Info
	run  error // of running it
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
	var plugin sync.WaitGroup // concurrently: a plugin that hangs leaves time for the command
	if b.mode.IsRegular() && b.mode&0o111 != 0 && !b.self {
		plugin.Go(func() { b.info, b.run = pluginbuild.Ask(ctx, at) })
	}
	b.reaper = inspectSibling(ctx, h, path)
	plugin.Wait()
	return b
}

// inspectSibling finds the program as ADD does, and runs it for its version if ADD would start it.
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

// isSelf reports whether a file is the program of this process.
func isSelf(info fs.FileInfo) bool {
	own, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(own, info)
}

// reportBinary reports whether the runtime can run the chained plugin.
func reportBinary(b binary) []Finding {
	f := Finding{Check: "cni-binary", Level: Fail}
	const install = "run halfclose install on the host"
	own := buildinfo.Get()
	switch {
	case errors.Is(b.err, fs.ErrNotExist):
		f.What, f.Do = fmt.Sprintf("there is no %s, but halfclose is chained: no container starts", b.path), install+"; or name the directory with --cni-bin-dir"
	case b.err != nil:
		f.Level, f.What, f.Do = Warn, fmt.Sprintf("%s cannot be inspected: %v", b.path, b.err), "run it as root"
	case !b.mode.IsRegular():
		f.What, f.Do = fmt.Sprintf("%s is no regular file (%s), but halfclose is chained: no container starts", b.path, b.mode), install
	case b.mode&0o111 == 0:
		f.What, f.Do = fmt.Sprintf("%s cannot be executed (%s), but halfclose is chained: no container starts", b.path, b.mode), "chmod 755 "+b.path
	case b.self:
		f.What = fmt.Sprintf("%s is this command and not the plugin, but halfclose is chained: no container starts", b.path)
		f.Do = "move the command to another directory, such as /usr/local/bin, and " + install
	case errors.Is(b.run, fs.ErrPermission):
		f.Level, f.What, f.Do = Warn, fmt.Sprintf("%s cannot be run for its version: %v", b.path, b.run), "run it as root; check whether its file system is mounted noexec"
	case b.run != nil:
		f.What, f.Do = fmt.Sprintf("%s does not answer as a plugin: %v", b.path, b.run), "check whether it is halfclose for this machine ("+own.Platform+"); "+install
	case b.info == buildinfo.Info{}:
		f.Level, f.What = Warn, fmt.Sprintf("%s does not report a build of halfclose: it is older than this (%s), or another plugin", b.path, own.Version)
		f.Do = install
	case b.info.Build() != own.Build():
		f.Level, f.What = Warn, fmt.Sprintf("%s is %s, and this is %s", b.path, b.info, own)
		f.Do = "run halfclose install of the newer build on the host"
	default:
		f.Level, f.What = OK, fmt.Sprintf("%s is of the same build as this (%s)", b.path, own.Version)
	}
	return []Finding{f}
}

// reportSibling reports whether ADD can start a reaper.
func reportSibling(b binary) []Finding {
	f := Finding{Check: "auto-start", Level: Warn}
	own, s := buildinfo.Get(), b.reaper
	switch {
	case b.err != nil: // the plugin's finding reports it
		return nil
	case errors.Is(s.err, fs.ErrPermission):
		f.What, f.Do = fmt.Sprintf("cannot inspect what ADD starts as the reaper: %v", s.err), "run it as root"
	case s.err != nil:
		f.What = fmt.Sprintf("ADD cannot start a reaper: %v", s.err)
		f.Do = "run halfclose install on the host, from a directory that belongs to root and that only root can write to, or with --copy; or run halfclose reaper as a service and install with --reaper external"
	case s.self:
		f.Level, f.What = OK, fmt.Sprintf("ADD starts this command as the reaper (%s)", s.path)
	case s.run != nil:
		f.What, f.Do = fmt.Sprintf("%s, which ADD starts as the reaper, does not report its version: %v", s.path, s.run), "run halfclose install on the host"
	case s.info.Build() != own.Build():
		f.What = fmt.Sprintf("%s, which ADD starts as the reaper, is %s, and this is %s", s.path, s.info, own)
		f.Do = "run halfclose install of the newer build on the host"
	default:
		f.Level, f.What = OK, fmt.Sprintf("ADD starts %s as the reaper, of the same build as this (%s)", s.path, own.Version)
	}
	return []Finding{f}
}
