// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"

	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/policy"
)

// chains is the runtime's network configurations.
type chains struct {
	dir    string
	err    error // of listing it; fs.ErrNotExist if it does not exist
	files  []confFile
	binary binary
}

// confFile is one network configuration.
type confFile struct {
	cniconf.File
	ours []plugin
}

// plugin is an entry of ours in a chain.
type plugin struct {
	index    int // in the chain
	network  policy.Network
	problems policy.Problems
}

func inspectChains(ctx context.Context, cfg Config) chains {
	h := hostfs.Dir(cfg.HostRoot)
	c := chains{dir: cfg.ConfDir}
	var files []cniconf.File
	if files, c.err = loadConfs(h, cfg.ConfDir); c.err != nil {
		return c
	}
	for _, f := range files {
		c.files = append(c.files, confFile{File: f, ours: ourPlugins(f)})
	}
	c.binary = inspectBinary(ctx, h, filepath.Join(cfg.BinDir, spec.PluginType))
	return c
}

func loadConfs(h hostfs.Dir, path string) ([]cniconf.File, error) {
	d, err := h.OpenDirectory(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return cniconf.Load(d)
}

// ourPlugins returns our entries in a file that runtimes can load.
func ourPlugins(f cniconf.File) []plugin {
	if f.Problem() != nil {
		return nil
	}
	var all []plugin
	for i, conf := range f.Plugins() {
		if cniconf.IsOurs(conf) {
			all = append(all, parsePlugin(i, conf))
		}
	}
	return all
}

func parsePlugin(index int, conf *libcni.PluginConfig) plugin {
	p := plugin{index: index}
	p.network, p.problems = policy.ParseNetwork(conf.Bytes)
	return p
}

// reportChains reports whether new containers are registered, and with which policy.
func reportChains(c chains) []Finding {
	const withoutCNI = "; without CNI: halfclose register NETNS"
	switch {
	case errors.Is(c.err, fs.ErrNotExist):
		return []Finding{{
			Check: "cni", Level: Info, What: fmt.Sprintf("there is no %s: no CNI runtime is set up, or its network directory is another", c.dir),
			Do: "name the directory with --cni-conf-dir (and --host-root in a container)" + withoutCNI,
		}}
	case errors.Is(c.err, hostfs.ErrDeleted):
		return []Finding{{Check: "cni", Level: Warn, What: c.err.Error(), Do: "restart this container; to see a replaced directory, mount its parent"}}
	case c.err != nil:
		return []Finding{{Check: "cni", Level: Warn, What: fmt.Sprintf("%s cannot be read: %v", c.dir, c.err), Do: "run it as root"}}
	}
	chosen := cniconf.Choose(c.files)
	all := reportBroken(c, chosen)
	if chosen < 0 {
		return append(all, Finding{
			Check: "cni", Level: Info, What: fmt.Sprintf("%s holds no valid network configuration, so no container is registered", c.dir),
			Do: "install the network's plugin first, then run halfclose install" + withoutCNI,
		})
	}
	all = append(all, reportChosen(c, chosen)...)
	chained, starts := false, false
	for _, f := range c.files {
		all = append(all, reportFile(f)...)
		chained = chained || len(f.ours) > 0
		starts = starts || slices.ContainsFunc(f.ours, func(p plugin) bool { return p.network.Reaper == policy.Auto })
	}
	if chained {
		all = append(all, reportBinary(c.binary)...)
	}
	if starts {
		all = append(all, reportSibling(c.binary)...)
	}
	return all
}

// reportBroken reports files that are no network configuration.
func reportBroken(c chains, chosen int) []Finding {
	var all []Finding
	for i, f := range c.files {
		problem := f.Problem()
		if problem == nil {
			continue
		}
		what := fmt.Sprintf("%s is no valid network configuration: %v", f.Name, problem)
		if i < chosen || chosen < 0 {
			what += "; containerd stops at it, and CRI-O skips it"
		}
		all = append(all, Finding{ID: "cni/invalid/" + f.Name, Check: "cni", Level: Warn, What: what, Do: "correct it, or remove it from " + c.dir})
	}
	return all
}

// reportChosen reports whether the configuration that runtimes choose, the first valid one by name, lists the plugin.
func reportChosen(c chains, chosen int) []Finding {
	f := c.files[chosen]
	var others []string
	for _, o := range c.files[chosen+1:] {
		if len(o.ours) > 0 {
			others = append(others, o.Name)
		}
	}
	name := fmt.Sprintf("%s (network %s)", f.Name, f.List.Name)
	add := fmt.Sprintf(`run halfclose install, which appends {"type": "halfclose", "capabilities": {"%s": true}} to the plugins of %s`,
		policy.CapabilityPodAnnotations, f.Name)
	switch {
	case len(f.ours) > 0:
		last := f.ours[len(f.ours)-1]
		all := []Finding{{Check: "cni", What: fmt.Sprintf("runtimes choose %s, which chains halfclose: %s", name, policyText(last.network))}}
		if len(others) > 0 {
			all = append(all, Finding{
				ID: "cni/others", Check: "cni", What: strings.Join(others, ", ") + " chains halfclose too, for containers that request that network by name",
			})
		}
		return all
	case len(others) > 0:
		return []Finding{{
			Check: "cni", Level: Warn,
			What: fmt.Sprintf("runtimes choose %s, the first by name, which does not chain halfclose; %s does", name, strings.Join(others, ", ")),
			Do:   add + ", or rename the other file to sort first",
		}}
	}
	return []Finding{{
		Check: "cni", Level: Info, What: fmt.Sprintf("runtimes choose %s, which does not chain halfclose: no container is registered", name),
		Do: add + "; without CNI: halfclose register NETNS",
	}}
}

// policyText summarises the policy of a network's containers.
func policyText(n policy.Network) string {
	p := policy.Compose(n.Layer)
	parts := []string{p.Mode.String()}
	if p.CloseWaitGrace == p.FinWait2Grace {
		parts = append(parts, "grace "+p.CloseWaitGrace.String())
	} else {
		parts = append(parts, "grace of CLOSE_WAIT "+p.CloseWaitGrace.String(), "of FIN_WAIT2 "+p.FinWait2Grace.String())
	}
	usual := policy.Default()
	if p.Clock != usual.Clock {
		parts = append(parts, "clock "+p.Clock.String())
	}
	for _, value := range []struct {
		key         string
		have, usual fmt.Stringer
	}{{"probeAfter", p.ProbeAfter, usual.ProbeAfter}, {"pendingGrace", p.PendingGrace, usual.PendingGrace}} {
		if value.have != value.usual {
			parts = append(parts, value.key+" "+value.have.String())
		}
	}
	if len(p.Exempt) > 0 {
		parts = append(parts, describe.Plural(len(p.Exempt), "exemption", "exemptions"))
	}
	if len(p.Rules) > 0 {
		parts = append(parts, describe.Plural(len(p.Rules), "rule", "rules"))
	}
	return strings.Join(append(parts, "podOverrides "+n.PodOverrides.String(), "reaper "+n.Reaper.String(), "failurePolicy "+n.FailurePolicy.String()), ", ")
}

// reportFile reports mistakes in our entries of one configuration.
func reportFile(f confFile) []Finding {
	var all []Finding
	add := func(kind string, level Level, what, do string) {
		all = append(all, Finding{ID: "cni/" + kind + "/" + f.Name, Check: "cni", Level: level, What: f.Name + ": " + what, Do: do})
	}
	for _, p := range f.ours {
		at := fmt.Sprintf("$.plugins[%d]", p.index)
		if p.index == 0 {
			add("first", Fail, at+" is the first of the chain: no interface exists yet, and no container of this network starts",
				"move it after the plugin that creates the interface")
		}
		for _, problem := range p.problems {
			level, effect := Warn, "the network's containers are only observed"
			if p.network.FailurePolicy == policy.Fail {
				level, effect = Fail, "with failurePolicy fail no container of the network starts"
			}
			add("key", level, at+strings.TrimPrefix(problem.String(), "$")+" ("+effect+")", "correct it in the file; it applies to containers created afterwards")
		}
		if !p.network.PodAnnotations && p.network.PodOverrides != policy.OverridesNone {
			add("annotations", Warn, at+" does not declare the capability "+policy.CapabilityPodAnnotations+": the annotations of pods do not reach the plugin",
				fmt.Sprintf(`add "capabilities": {"%s": true}, or exclude annotations with "podOverrides": "none"`, policy.CapabilityPodAnnotations))
		}
	}
	if len(f.ours) > 1 {
		add("repeated", Warn, fmt.Sprintf("halfclose is in the chain %d times: an attachment has one record, and the last one writes it", len(f.ours)), "leave one of them")
	}
	if len(f.ours) > 0 {
		reportVersion(f, add)
	}
	return all
}

// reportVersion reports a network's cniVersion that the plugin or a runtime does not support.
func reportVersion(f confFile, add func(kind string, level Level, what, do string)) {
	if v, found := f.UnsupportedVersion(); found {
		supported := spec.Versions()
		last := len(supported) - 1
		add("version", Fail, fmt.Sprintf("halfclose does not support cniVersion %q: no container of this network starts", v),
			fmt.Sprintf("write 1.0.0: halfclose supports %s and %s", strings.Join(supported[:last], ", "), supported[last]))
	} else if f.List.CNIVersion == "1.1.0" {
		add("version", Info, "cniVersion 1.1.0 is refused by containerd 1.6", "nothing with a later one or CRI-O; otherwise write 1.0.0")
	}
}
