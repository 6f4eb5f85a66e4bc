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

	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/state"
)

// AddRow is the cost of one plugin's ADD: its process, from start to exit. Figures are the medians of the runs.
type AddRow struct {
	Plugin string  `json:"plugin"`
	Runs   int     `json:"runs"`
	Rounds int     `json:"rounds"` // of each run
	CPU    float64 `json:"p50CPUMilliseconds"`
	P50    float64 `json:"p50Milliseconds"`
	P90    float64 `json:"p90Milliseconds"`
	// Ratios to the plugin that does nothing, in the same run: of the p50s, and the lowest and highest of all runs.
	CPURatio float64    `json:"cpuRatioToNoop"`
	Ratio    float64    `json:"ratioToNoop"`
	CPURange [2]float64 `json:"cpuRatioRange"`
	Range    [2]float64 `json:"ratioRange"`
}

// The compared plugins. The floor is the start-up of halfclose alone.
const (
	noopName     = "a plugin that does nothing"
	floorName    = "halfclose, its start-up alone"
	externalName = "halfclose, reaper: external"
	autoName     = "halfclose, reaper: auto, one running"
)

// added is one plugin and its measured calls.
type added struct {
	name, binary, dir string // dir is its state directory
	conf              []byte
	runs              []taken
}

// taken has the times of the calls of one run.
type taken struct{ wall, cpu []time.Duration }

// conflist is a network configuration as a runtime passes it, with annotations.
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

// addRounds returns the number of runs, and of calls of each plugin in a run.
func addRounds(o options) (runs, rounds int) {
	if o.short {
		return 2, 10
	}
	return 5, 400
}

// measureAdd runs ADD of each plugin in turn, each for a new attachment that DEL removes at once.
func measureAdd(ctx context.Context, o options) (_ []AddRow, err error) {
	runs, rounds := addRounds(o)
	progress("running %d times %d ADDs of each plugin", runs, rounds)
	nd, err := newNetnsSet("add-", 1, false, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nd.end()) }()
	netns := nd.targets[0].Paths[0]
	plugins, err := addPlugins(o, netns)
	if err != nil {
		return nil, err
	}
	store := state.New(plugins[len(plugins)-1].dir)
	reaper, err := startReaper(o, store)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, endReaper(reaper)) }()
	if err := awaitCandidates(ctx, store, 0); err != nil {
		return nil, err
	}
	order := slices.Clone(plugins)
	for range runs {
		for _, p := range plugins {
			p.runs = append(p.runs, taken{})
		}
		for round := range rounds {
			for _, p := range order {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				if err := p.add(ctx, netns, round); err != nil {
					return nil, fmt.Errorf("%s: %w", p.name, err)
				}
			}
			slices.Reverse(order) // so that no plugin always follows the same one
		}
	}
	return addRows(plugins), nil
}

// addPlugins installs the plugins as halfclose install does, in a directory of root. The last one is that of reaper auto.
func addPlugins(o options, netns string) ([]*added, error) {
	bin := filepath.Join(runDir, "cni-bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	for name, from := range map[string]string{"noop": o.noop, "halfclose": o.plugin, "command": o.halfclose} {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(bin, name), data, 0o755)
		}
		if err != nil {
			return nil, fmt.Errorf("install %s: %w", name, err)
		}
	}
	if err := os.Symlink(filepath.Join(bin, "command"), filepath.Join(bin, launch.ReaperName)); err != nil {
		return nil, err
	}
	plugins := []*added{{name: noopName}, {name: floorName}, {name: externalName}, {name: autoName}}
	for i, p := range plugins {
		p.binary, p.dir = filepath.Join(bin, "halfclose"), filepath.Join(runDir, "add-"+strconv.Itoa(i))
		if p.name == noopName {
			p.binary = filepath.Join(bin, "noop")
		}
		reaper := "external"
		if p.name == autoName {
			reaper = "auto"
		}
		p.conf = fmt.Appendf(nil, conflist, filepath.Base(p.binary), reaper, netns)
	}
	return plugins, nil
}

// add runs ADD, checks its effect, and runs DEL. For the floor it runs VERSION: the process starts, and prints a constant.
func (p *added) add(ctx context.Context, netns string, round int) error {
	container, verb, prints := "bench-"+strconv.Itoa(round), "ADD", "10.0.0.2/24"
	if p.name == floorName {
		verb, prints = "VERSION", "supportedVersions"
	}
	began := time.Now()
	cmd, out, err := p.call(ctx, verb, container, netns)
	took := time.Since(began)
	if err != nil {
		return err
	}
	run := &p.runs[len(p.runs)-1]
	run.wall = append(run.wall, took)
	run.cpu = append(run.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	if !json.Valid(out) || !bytes.Contains(out, []byte(prints)) {
		return fmt.Errorf("%s printed %q, want something with %s", verb, out, prints)
	}
	if p.name == noopName || p.name == floorName {
		return nil
	}
	if _, err := state.New(p.dir).Get(state.Attachment{ContainerID: container, IfName: "eth0"}); err != nil {
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

// addRows compares the plugins with the one that does nothing, run by run.
func addRows(plugins []*added) []AddRow {
	var rows []AddRow
	noop := plugins[slices.IndexFunc(plugins, func(p *added) bool { return p.name == noopName })]
	for _, p := range plugins {
		row := AddRow{Plugin: p.name, Runs: len(p.runs), Rounds: len(p.runs[0].wall)}
		var cpu, wall, late, cpuRatio, ratio []float64
		for i, run := range p.runs {
			slices.Sort(run.wall)
			cpu = append(cpu, milliseconds(median(run.cpu)))
			wall = append(wall, milliseconds(median(run.wall)))
			late = append(late, milliseconds(run.wall[len(run.wall)*9/10]))
			cpuRatio = append(cpuRatio, cpu[i]/milliseconds(median(noop.runs[i].cpu)))
			ratio = append(ratio, wall[i]/milliseconds(median(noop.runs[i].wall)))
		}
		row.CPU, row.P50, row.P90 = median(cpu), median(wall), median(late)
		row.CPURatio, row.Ratio = median(cpuRatio), median(ratio)
		row.CPURange = [2]float64{slices.Min(cpuRatio), slices.Max(cpuRatio)}
		row.Range = [2]float64{slices.Min(ratio), slices.Max(ratio)}
		rows = append(rows, row)
	}
	return rows
}
