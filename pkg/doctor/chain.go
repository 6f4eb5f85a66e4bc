// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/policy"
)

// judgeChains says whether containers get to be registered, and with what policy.
func judgeChains(c chains) []Finding {
	const otherwise = "; without CNI: halfclose register NETNS"
	switch {
	case errors.Is(c.err, fs.ErrNotExist):
		return []Finding{{
			Check: "cni", Level: Info, What: fmt.Sprintf("there is no %s: no CNI runtime is set up, or its configurations are elsewhere", c.dir),
			Do: "name the directory with --cni-conf-dir (and --host-root in a container)" + otherwise,
		}}
	case errors.Is(c.err, hostfs.ErrDeleted):
		return []Finding{{Check: "cni", Level: Warn, What: c.err.Error(), Do: "restart this container; mount the directory's parent to see it replaced"}}
	case c.err != nil:
		return []Finding{{Check: "cni", Level: Warn, What: fmt.Sprintf("%s cannot be looked at: %v", c.dir, c.err), Do: "run it as root"}}
	}
	chosen := cniconf.Choose(c.files)
	all := judgeBroken(c, chosen)
	if chosen < 0 {
		return append(all, Finding{
			Check: "cni", Level: Info, What: fmt.Sprintf("%s holds no valid network configuration, so that no container is registered", c.dir),
			Do: "install the network's plugin first, then halfclose install" + otherwise,
		})
	}
	all = append(all, judgeChosen(c, chosen)...)
	chained, starts := false, false
	for _, f := range c.files {
		all = append(all, judgeFile(f)...)
		chained = chained || len(f.ours) > 0
		starts = starts || slices.ContainsFunc(f.ours, func(p plugin) bool { return p.network.Reaper == policy.Auto })
	}
	if chained {
		all = append(all, judgeBinary(c.binary)...)
	}
	if starts {
		all = append(all, judgeSibling(c.binary)...)
	}
	return all
}

// judgeBroken says which files are no network configuration.
func judgeBroken(c chains, chosen int) []Finding {
	var all []Finding
	for i, f := range c.files {
		problem := f.Problem()
		if problem == nil {
			continue
		}
		what := fmt.Sprintf("%s is no valid network configuration: %v", f.Name, problem)
		if i < chosen || chosen < 0 {
			what += "; containerd goes no further than it, and CRI-O passes it over"
		}
		all = append(all, Finding{Check: "cni", Level: Warn, What: what, Do: "correct it, or remove it from " + c.dir})
	}
	return all
}

// judgeChosen says whether the configuration that runtimes take, the first valid one by name, is one of ours.
func judgeChosen(c chains, chosen int) []Finding {
	f := c.files[chosen]
	var other []string
	for _, o := range c.files[chosen+1:] {
		if len(o.ours) > 0 {
			other = append(other, o.Name)
		}
	}
	named := fmt.Sprintf("%s (network %s)", f.Name, f.List.Name)
	object := fmt.Sprintf(`append {"type": "halfclose", "capabilities": {"%s": true}} to the plugins of %s, which halfclose install does`,
		policy.CapabilityPodAnnotations, f.Name)
	switch {
	case len(f.ours) > 0:
		var list []Finding
		if len(other) > 0 {
			list = append(list, Finding{
				Check: "cni", What: strings.Join(other, ", ") + " chains halfclose too, for those who ask for that network by its name",
			})
		}
		last := f.ours[len(f.ours)-1]
		return append([]Finding{{Check: "cni", What: fmt.Sprintf("runtimes take %s, which chains halfclose: %s", named, policyText(last.network))}}, list...)
	case len(other) > 0:
		return []Finding{{
			Check: "cni", Level: Warn,
			What: fmt.Sprintf("runtimes take %s, the first by name, which does not chain halfclose; %s does", named, strings.Join(other, ", ")),
			Do:   object + ", or give the other a name that comes first",
		}}
	}
	return []Finding{{
		Check: "cni", Level: Info, What: fmt.Sprintf("runtimes take %s, which does not chain halfclose: no container is registered", named),
		Do: object + "; without CNI: halfclose register NETNS",
	}}
}

// policyText says what a network's containers get.
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
		parts = append(parts, count(len(p.Exempt), "exemption"))
	}
	if len(p.Rules) > 0 {
		parts = append(parts, count(len(p.Rules), "rule"))
	}
	return strings.Join(append(parts, "podOverrides "+n.PodOverrides.String(), "reaper "+n.Reaper.String(), "failurePolicy "+n.FailurePolicy.String()), ", ")
}

// judgeFile says what is wrong with our objects in one configuration.
func judgeFile(f confFile) []Finding {
	var all []Finding
	add := func(level Level, what, do string) {
		all = append(all, Finding{Check: "cni", Level: level, What: f.Name + ": " + what, Do: do})
	}
	for _, p := range f.ours {
		at := fmt.Sprintf("$.plugins[%d]", p.index)
		if p.index == 0 {
			add(Fail, at+" is the first of the chain: there is no interface yet, and no container of this network starts",
				"move it behind the plugin that makes the interface")
		}
		for _, problem := range p.problems {
			level, so := Warn, "the network's containers are observed only"
			if p.network.FailurePolicy == policy.Fail {
				level, so = Fail, "with failurePolicy fail no container of the network starts"
			}
			add(level, at+strings.TrimPrefix(problem.String(), "$")+" ("+so+")", "correct it in the file; containers made afterwards get it")
		}
		if !p.network.PodAnnotations && p.network.PodOverrides != policy.OverridesNone {
			add(Warn, at+" does not declare the capability "+policy.CapabilityPodAnnotations+": what pods say in annotations does not get here",
				fmt.Sprintf(`add "capabilities": {"%s": true}, or say so: "podOverrides": "none"`, policy.CapabilityPodAnnotations))
		}
	}
	if len(f.ours) > 1 {
		add(Warn, fmt.Sprintf("halfclose is in the chain %d times: an attachment has one record, and the last one writes it", len(f.ours)), "leave one of them")
	}
	if len(f.ours) > 0 {
		judgeVersion(f, add)
	}
	return all
}

// judgeVersion judges a network's cniVersion by what the plugin and the runtimes speak.
func judgeVersion(f confFile, add func(level Level, what, do string)) {
	if v, found := f.UnspokenVersion(); found {
		spoken := spec.Versions()
		last := len(spoken) - 1
		add(Fail, fmt.Sprintf("halfclose does not speak cniVersion %q: no container of this network starts", v),
			fmt.Sprintf("write 1.0.0: halfclose speaks %s and %s", strings.Join(spoken[:last], ", "), spoken[last]))
	} else if f.List.CNIVersion == "1.1.0" {
		add(Info, "cniVersion 1.1.0 is refused by containerd 1.6", "nothing with a later one or CRI-O; else write 1.0.0")
	}
}
