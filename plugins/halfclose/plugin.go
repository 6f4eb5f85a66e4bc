// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/state"
)

// What skel has checked and used, and does not pass on where it refuses a call (CNI spec, "Parameters").
const (
	envCommand     = "CNI_COMMAND"
	envContainerID = "CNI_CONTAINERID"
	envIfName      = "CNI_IFNAME"
)

// plugin is one call of the CNI plugin: where it reads and writes, and what it is about to say.
type plugin struct {
	getenv func(string) string
	stdout io.Writer // the protocol's: a result or an error, nothing else
	stderr io.Writer
	syslog warner
	store  *state.Store
	now    func() time.Time
	reaper starter
	build  buildinfo.Build

	version  string       // the spec version that the configuration asks for, once it has been read
	result   types.Result // what ADD is to print, once skel has no objection either
	warnings []string     // what went wrong and prevents nothing
}

// warner is a system log.
type warner interface {
	Warn(message string, args ...any)
}

// starter starts the node's shared reaper.
type starter interface {
	// HasSocket reports whether there is a socket, on which a reaper may listen or have listened. It costs one call.
	HasSocket() bool
	// Running reports whether a reaper runs.
	Running() bool
	// Find returns a program that may be started as the reaper, to be closed.
	Find() (program, error)
}

// program is one that may be started as the reaper.
type program interface {
	// Start starts it, and does not wait for it to be ready.
	Start() error
	Close()
}

// dispatch is skel.PluginMainFuncsWithError: it checks the environment and the configuration of a call, and
// calls the verb.
type dispatch func(skel.CNIFuncs, version.PluginInfo, string) *types.Error

// run makes one call of the plugin and returns its exit code.
func (p *plugin) run(call dispatch) int {
	funcs := skel.CNIFuncs{Add: p.add, Del: p.del, Check: p.check, GC: p.gc, Status: p.status}
	refused := call(funcs, version.PluginSupports(spec.Versions()...), "")
	if refused != nil && p.getenv(envCommand) == "DEL" {
		refused = p.delAnyway(refused)
	}
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

// read reads the configuration of a call.
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

// warnf notes what went wrong and keeps the call from nothing.
func (p *plugin) warnf(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// report writes the warnings to stderr, one a line, and to the system log, in one entry: that can be slow
// where the log is stuck, and a runtime is waiting.
func (p *plugin) report() {
	if len(p.warnings) == 0 {
		return
	}
	command := p.getenv(envCommand)
	a := state.Attachment{ContainerID: p.getenv(envContainerID), IfName: p.getenv(envIfName)}
	for _, w := range p.warnings {
		if a.ContainerID != "" {
			w = a.String() + ": " + w
		}
		fmt.Fprintf(p.stderr, "halfclose: %s: %s\n", command, w)
	}
	p.syslog.Warn(command+": "+strings.Join(p.warnings, "; "), "container", a.ContainerID, "ifname", a.IfName)
}

// print prints an error as the protocol wants it (CNI spec, "Error"). The version is left out where skel
// refused the call before it was known.
func (p *plugin) print(e *types.Error) {
	data, err := json.MarshalIndent(struct {
		CNIVersion string `json:"cniVersion,omitempty"`
		*types.Error
	}{p.version, e}, "", "    ")
	if err == nil {
		_, err = fmt.Fprintf(p.stdout, "%s\n", data)
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "halfclose: print error: %v (it was: %v)\n", err, e)
	}
}
