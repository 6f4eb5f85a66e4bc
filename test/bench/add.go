// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/halfclose/halfclose/pkg/state"
)

// AddRow is what a plugin's ADD took: the process, from its start to its end.
type AddRow struct {
	Plugin string  `json:"plugin"`
	Rounds int     `json:"rounds"`
	P50    float64 `json:"p50Milliseconds"`
	P90    float64 `json:"p90Milliseconds"`
	CPU    float64 `json:"p50CPUMilliseconds"`
	Ratio  float64 `json:"ratioToNoop"` // of the p50
}

// The plugins that are compared.
const (
	noopName     = "a plugin that does nothing"
	externalName = "halfclose, reaper: external"
	autoName     = "halfclose, reaper: auto, one running"
)

// added is one plugin and what its ADDs took.
type added struct {
	name, binary, dir string // dir is its state directory
	conf              []byte
	wall, cpu         []time.Duration
}

// conflist is a network configuration as a runtime hands it over, annotations and all.
const conflist = `{
  "cniVersion": "1.0.0", "name": "bench", "type": %q, "grace": "5m", "reaper": %q,
  "exempt": [{"localPorts": "22"}, {"peers": "10.0.0.0/8", "peerPorts": "5432"}],
  "capabilities": {"io.kubernetes.cri.pod-annotations": true},
  "runtimeConfig": {"io.kubernetes.cri.pod-annotations": {
    "halfclose.cni/grace": "10m", "kubernetes.io/config.source": "api", "example.org/owner": "bench"}},
  "prevResult": {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "veth0", "mac": "0a:58:0a:00:00:01"}, {"name": "eth0", "mac": "0a:58:0a:00:00:02", "sandbox": %q}],
    "ips": [{"interface": 1, "address": "10.0.0.2/24", "gateway": "10.0.0.1"}],
    "routes": [{"dst": "0.0.0.0/0"}], "dns": {}
  }
}`

// measureAdd runs ADD of each plugin in turn, each for an attachment that is DELeted at once.
func measureAdd(ctx context.Context, o options) (_ []AddRow, err error) {
	rounds := 400
	if o.short {
		rounds = 20
	}
	progress("running %d ADDs of each plugin", rounds)
	nd, err := newNode("add-", 1, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nd.end()) }()
	netns := nd.targets[0].Paths[0]
	plugins := []*added{{name: noopName, binary: o.noop}, {name: externalName, binary: o.halfclose}, {name: autoName, binary: o.halfclose}}
	for i, reaper := range []string{"", "external", "auto"} {
		plugins[i].dir = filepath.Join(runDir, "add-"+strconv.Itoa(i))
		plugins[i].conf = fmt.Appendf(nil, conflist, filepath.Base(plugins[i].binary), reaper, netns)
	}
	store := state.New(plugins[2].dir)
	reaper, err := startReaper(o, store)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, endReaper(reaper)) }()
	if err := awaitCandidates(ctx, store, 0); err != nil {
		return nil, err
	}
	for round := range rounds {
		for _, p := range plugins {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := p.add(ctx, netns, round); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
		}
		slices.Reverse(plugins) // so that none is always the one after the same other
	}
	return addRows(plugins), nil
}

// add runs ADD, checks that it did what it is for, and takes it back.
func (p *added) add(ctx context.Context, netns string, round int) error {
	container := "bench-" + strconv.Itoa(round)
	began := time.Now()
	cmd, out, err := p.call(ctx, "ADD", container, netns)
	took := time.Since(began)
	if err != nil {
		return err
	}
	p.wall = append(p.wall, took)
	p.cpu = append(p.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	if !json.Valid(out) || !bytes.Contains(out, []byte("10.0.0.2/24")) {
		return fmt.Errorf("ADD printed %q, which is not its prevResult", out)
	}
	_, err = state.New(p.dir).Get(state.Attachment{ContainerID: container, IfName: "eth0"})
	if p.name == noopName {
		return nil
	}
	if err != nil {
		return err
	}
	_, _, err = p.call(ctx, "DEL", container, netns)
	return err
}

// call runs one verb of the plugin as a runtime does.
func (p *added) call(ctx context.Context, verb, container, netns string) (*exec.Cmd, []byte, error) {
	cmd := exec.CommandContext(ctx, p.binary)
	cmd.Env = []string{
		"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + container, "CNI_NETNS=" + netns, "CNI_IFNAME=eth0",
		"CNI_PATH=" + filepath.Dir(p.binary), state.EnvDir + "=" + p.dir, "PATH=" + os.Getenv("PATH"),
		"CNI_ARGS=K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=b04f0ee2-0000-0000-0000-000000000000",
	}
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(p.conf), &out, &stderr
	if err := cmd.Run(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w: %s%s", verb, err, out.Bytes(), stderr.Bytes())
	}
	if stderr.Len() > 0 {
		return nil, nil, fmt.Errorf("%s warns: %s", verb, stderr.Bytes())
	}
	return cmd, out.Bytes(), nil
}

// addRows compares the plugins with the one that does nothing.
func addRows(plugins []*added) []AddRow {
	var rows []AddRow
	for _, name := range []string{noopName, externalName, autoName} {
		p := plugins[slices.IndexFunc(plugins, func(p *added) bool { return p.name == name })]
		slices.Sort(p.wall)
		rows = append(rows, AddRow{
			Plugin: name, Rounds: len(p.wall), P50: milliseconds(median(p.wall)),
			P90: milliseconds(p.wall[len(p.wall)*9/10]), CPU: milliseconds(median(p.cpu)),
		})
		rows[len(rows)-1].Ratio = rows[len(rows)-1].P50 / rows[0].P50
	}
	return rows
}
