// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/state"
)

// The parameters of a call (CNI spec, "Parameters"). The plugin reads them itself where skel refuses a call: skel does not
// pass them on then.
const (
	envCommand       = "CNI_COMMAND"
	envContainerID   = "CNI_CONTAINERID"
	envIfName        = "CNI_IFNAME"
	envNetns         = "CNI_NETNS"
	envNetnsOverride = "CNI_NETNS_OVERRIDE" // skel's own: skip its check of CNI_NETNS
)

// plugin is one call of the CNI plugin.
type plugin struct {
	getenv func(string) string
	stdout io.Writer // the protocol's: a result or an error, nothing else
	stderr io.Writer
	syslog warner
	store  *state.Store
	now    func() time.Time
	reaper starter
	build  buildinfo.Build
	exit   func(code int) // ends the process

	version  string       // the spec version in the configuration; empty until the configuration is read
	result   types.Result // of ADD; printed if skel accepts the call too
	mu       sync.Mutex   // of warnings and logged, to which an operation that hangs may still add
	warnings []string     // mistakes in the configuration and the annotations: for the record and the log
	logged   []string     // warnings for the log alone
}

// warner is a system log.
type warner interface {
	Warn(message string, args ...any)
}

// starter starts the node's shared reaper.
type starter interface {
	// Running reports whether a reaper runs.
	Running() bool
	// Find opens the program to start as the reaper.
	Find() (program, error)
}

// program is an open program that may be started as the reaper.
type program interface {
	// Start starts the program without waiting for it to be ready.
	Start() error
	Close()
}

// dispatch checks the environment and the configuration of a call and calls the verb's function, as
// skel.PluginMainFuncsWithError does.
type dispatch func(skel.CNIFuncs, version.PluginInfo, string) *types.Error

// dispatchSkel is skel.PluginMainFuncsWithError without skel's check of CNI_NETNS if that leads to a file that cannot be a
// network namespace. After ADD and DEL, skel opens the path for reading: a FIFO would block it for ever. The plugin opens
// the path with O_PATH and refuses any other file than a network namespace itself.
func dispatchSkel(funcs skel.CNIFuncs, info version.PluginInfo, about string) *types.Error {
	path := os.Getenv(envNetns)
	mode, err := within(statPatience, func() (fs.FileMode, error) {
		st, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		return st.Mode(), nil
	})
	if err == nil && !mode.IsRegular() || errors.Is(err, errHangs) {
		_ = os.Setenv(envNetnsOverride, "TRUE") // fails for invalid names only
	}
	return skel.PluginMainFuncsWithError(funcs, info, about)
}

// run makes one call of the plugin and returns its exit code.
func (p *plugin) run(call dispatch) int {
	funcs := skel.CNIFuncs{Add: p.add, Del: p.del, Check: p.check, GC: p.gc, Status: p.status}
	refused := call(funcs, version.PluginSupports(spec.Versions()...), "")
	if refused != nil && p.getenv(envCommand) == "DEL" {
		refused = p.delAnyway(refused)
	}
	return p.conclude(refused)
}

// conclude prints the result or the error of a call, logs the warnings, and returns the exit code.
func (p *plugin) conclude(refused *types.Error) int {
	if refused == nil && p.result != nil {
		if err := p.result.PrintTo(p.stdout); err != nil {
			refused = types.NewError(types.ErrIOFailure, "print result", err.Error())
		}
	}
	p.report()
	if refused != nil {
		p.print(refused)
		return 1
	}
	return 0
}

// read parses the configuration of a call.
func (p *plugin) read(args *skel.CmdArgs) (conf, error) {
	c, err := parseConf(args.StdinData)
	if err != nil {
		return conf{}, types.NewError(types.ErrDecodingFailure, "read network configuration", err.Error())
	}
	p.version = c.CNIVersion
	return c, nil
}

func attachment(args *skel.CmdArgs) state.Attachment {
	return state.Attachment{ContainerID: args.ContainerID, IfName: args.IfName}
}

// warnf adds a warning that lasts as long as the attachment: register puts it into the record too.
func (p *plugin) warnf(format string, args ...any) {
	p.warn(fmt.Sprintf(format, args...))
}

// warn is warnf for several texts.
func (p *plugin) warn(texts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warnings = append(p.warnings, texts...)
}

// warned returns a copy of the warnings.
func (p *plugin) warned() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.warnings)
}

// logf adds a warning about this call alone.
func (p *plugin) logf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.logged = append(p.logged, fmt.Sprintf(format, args...))
}

// report writes the warnings to stderr, one a line, and to the system log, all in one entry: each entry can block for
// systemlog.MaxWait, and the runtime waits.
func (p *plugin) report() {
	p.mu.Lock()
	all := slices.Concat(p.logged, p.warnings)
	p.mu.Unlock()
	if len(all) == 0 {
		return
	}
	command := p.getenv(envCommand)
	a := state.Attachment{ContainerID: p.getenv(envContainerID), IfName: p.getenv(envIfName)}
	for _, w := range all {
		if a.ContainerID != "" {
			w = a.String() + ": " + w
		}
		fmt.Fprintf(p.stderr, "halfclose: %s: %s\n", command, w)
	}
	p.syslog.Warn(command+": "+strings.Join(all, "; "), "container", a.ContainerID, "ifname", a.IfName)
}

// print writes a CNI error (CNI spec, "Error") to stdout, without the version if skel refused the call before the plugin
// read the configuration.
func (p *plugin) print(e *types.Error) {
	data, err := json.MarshalIndent(struct {
		CNIVersion string `json:"cniVersion,omitempty"`
		*types.Error
	}{p.version, e}, "", "    ")
	if err == nil {
		_, err = fmt.Fprintf(p.stdout, "%s\n", data)
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "halfclose: print CNI error %v: %v\n", e, err)
	}
}
