// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/policy"
)

func TestAddKeepsTheNetworkAndTheAnnotationsApart(t *testing.T) {
	tests := []struct {
		name      string
		overrides string
		policies  []policy.Patience // the grace of each
		mode      policy.Mode       // that all of them come to
		kept      bool              // the record has the annotations
	}{
		{"any value", "any", []policy.Patience{policy.Patience(time.Minute)}, policy.Observe, true},
		{"only the more conservative one", "relax", []policy.Patience{policy.Patience(5 * time.Minute), policy.Patience(time.Minute)}, policy.Observe, true},
		{"none", "none", []policy.Patience{policy.Patience(5 * time.Minute)}, policy.Destroy, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			ours := map[string]string{"halfclose.cni/grace": "1m", "halfclose.cni/mode": "observe"}
			conf := chained("1.0.0").with(annotated(object{"halfclose.cni/grace": "1m", "halfclose.cni/mode": "observe", "example.org/team": "blue"})).
				with(object{"grace": "5m", "podOverrides": tt.overrides, "failurePolicy": "fail"})
			n.call(t, "ADD", conf).ok(t)
			r := n.record(t, blue)
			if g := r.Layers.Network.Grace; g == nil || *g != policy.Patience(5*time.Minute) || r.Layers.Network.Mode != nil {
				t.Errorf("the network's layer is %+v, want its grace alone", r.Layers.Network)
			}
			if kept := maps.Equal(ours, r.Layers.Annotations); kept != tt.kept || !kept && r.Layers.Annotations != nil {
				t.Errorf("annotations %v, want those of ours: %v", r.Layers.Annotations, tt.kept)
			}
			var graces []policy.Patience
			for _, p := range r.Layers.Resolve(0).Policies {
				graces = append(graces, p.CloseWaitGrace)
			}
			if fmt.Sprint(graces) != fmt.Sprint(tt.policies) || joined(r).Mode != tt.mode {
				t.Errorf("graces %v and mode %v, want %v and %v", graces, joined(r).Mode, tt.policies, tt.mode)
			}
			if len(r.Warnings) == 0 != tt.kept {
				t.Errorf("warnings %q, want one if the annotations are not read", r.Warnings)
			}
		})
	}
}

// The pod's author may have meant a more conservative policy than the network's.
func TestAddObservesAPodWhoseAnnotationsAreWrong(t *testing.T) {
	tests := []struct {
		name        string
		annotations any
		warn        string
	}{
		{"a mode in capitals", object{"halfclose.cni/mode": "Observe"}, `did you mean "observe"?`},
		{"a grace in days", object{"halfclose.cni/grace": "1d"}, `write "24h"`},
		{"a grace that is no time", object{"halfclose.cni/grace": "soon"}, "annotation halfclose.cni/grace"},
		{"a grace below nothing", object{"halfclose.cni/close-wait-grace": "-1s"}, "annotation halfclose.cni/close-wait-grace"},
		{"an exempt that is no JSON", object{"halfclose.cni/exempt": `[{"localPorts": "22"`}, "annotation halfclose.cni/exempt"},
		{"an exempt with a number for ports", object{"halfclose.cni/exempt": `[{"localPorts": 99999}]`}, "annotation halfclose.cni/exempt"},
		{"rules of an unknown role", object{"halfclose.cni/rules": `[{"match": {"role": "proxy"}, "grace": "1m"}]`}, "annotation halfclose.cni/rules"},
		{"an unknown key", object{"halfclose.cni/graec": "1m"}, "did you mean halfclose.cni/grace?"},
		{"a key of another spelling", object{"halfclose.cni/close_wait_grace": "never"}, "close-wait-grace"},
		{"a key that there is no more", object{"halfclose.cni/pending-data": "keep"}, "halfclose.cni/pending-data"},
		{"a wrong one beside good ones", object{"halfclose.cni/grace": "1m", "halfclose.cni/mode": "destroy", "halfclose.cni/clock": "wall"}, "halfclose.cni/clock"},
		{"one that is no string", object{"halfclose.cni/grace": 60, "halfclose.cni/mode": "destroy"}, "halfclose.cni/grace"},
		{"one that is a list and no string", object{"halfclose.cni/exempt": []object{{"localPorts": "22"}}}, "halfclose.cni/exempt"},
		{"one that is null", object{"halfclose.cni/grace": null}, "halfclose.cni/grace"},
		{"annotations that are no object", []string{"halfclose.cni/mode=off"}, "annotations are unknown"},
	}
	for _, tt := range tests {
		for _, overrides := range []string{"any", "relax"} {
			for _, failure := range []string{"ignore", "fail"} {
				t.Run(tt.name+", "+overrides+", "+failure, func(t *testing.T) {
					n := newNode(t)
					conf := chained("1.0.0").with(annotated(tt.annotations)).with(object{"podOverrides": overrides, "failurePolicy": failure})
					o := n.call(t, "ADD", conf).ok(t)
					r := n.record(t, blue)
					for _, p := range r.Layers.Resolve(0).Policies {
						if p.Mode != policy.Observe || p.Sources["mode"] != policy.SourceWrongAnnotation {
							t.Errorf("mode %v from %q, want observe because of a wrong annotation", p.Mode, p.Sources["mode"])
						}
					}
					if got := strings.Join(r.Warnings, "\n"); len(r.Warnings) != 1 || !strings.Contains(got, tt.warn) {
						t.Errorf("warnings %q, want one about %s", r.Warnings, tt.warn)
					}
					if !strings.Contains(o.stderr, tt.warn) || len(o.syslog) != 1 {
						t.Errorf("nothing about %s in stderr %q and the system log %q", tt.warn, o.stderr, o.syslog)
					}
				})
			}
		}
		t.Run(tt.name+", none", func(t *testing.T) {
			n := newNode(t)
			n.call(t, "ADD", chained("1.0.0").with(annotated(tt.annotations)).with(object{"podOverrides": "none"})).ok(t)
			if r := n.record(t, blue); joined(r).Mode != policy.Destroy || r.Layers.Annotations != nil {
				t.Errorf("mode %v, annotations %v, want destroy and none", joined(r).Mode, r.Layers.Annotations)
			}
		})
	}
}

func TestAddAcceptsAnnotationsThatAreNoMistake(t *testing.T) {
	declared := object{"capabilities": object{policy.CapabilityPodAnnotations: true}}
	tests := []struct {
		name string
		conf object
		mode policy.Mode
	}{
		{"another project's that is no string", annotated(object{"example.org/n": 60, "halfclose.cni/mode": "observe"}), policy.Observe},
		{"tens of kilobytes of another project's", annotated(object{
			"kubectl.kubernetes.io/last-applied-configuration": strings.Repeat(`{"a":"b"}`, 5000), "halfclose.cni/mode": "observe",
		}), policy.Observe},
		{"annotations that are null", annotated(null), policy.Destroy},
		{"runtimeConfig that is null", declared.with(object{"runtimeConfig": null}), policy.Destroy},
		{"no runtimeConfig", declared, policy.Destroy},
		{"runtimeConfig of another capability", declared.with(object{"runtimeConfig": object{"portMappings": []int{}}}), policy.Destroy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.call(t, "ADD", chained("1.0.0").with(tt.conf)).ok(t).calm(t)
			r := n.record(t, blue)
			if got := joined(r).Mode; got != tt.mode || r.Warnings != nil {
				t.Errorf("mode %v, warnings %q, want %v and none", got, r.Warnings, tt.mode)
			}
			for name := range r.Layers.Annotations {
				if !strings.HasPrefix(name, policy.AnnotationPrefix) {
					t.Errorf("annotation %q is recorded", name)
				}
			}
		})
	}
}

func TestAddObservesAPodWhoseRuntimeConfigIsNoObject(t *testing.T) {
	n := newNode(t)
	n.call(t, "ADD", chained("1.0.0").with(object{"runtimeConfig": "none"})).ok(t)
	if r := n.record(t, blue); joined(r).Mode != policy.Observe || len(r.Warnings) != 1 {
		t.Errorf("mode %v, warnings %q, want observe and one", joined(r).Mode, r.Warnings)
	}
}

// exemptions returns the longest list of exemptions, each with the most ranges.
func exemptions(t *testing.T) string {
	t.Helper()
	var list []object
	for i := range 64 {
		var ports, peers []string
		for j := range 16 {
			ports = append(ports, fmt.Sprintf("%d-%d", 10000+100*j+i, 10000+100*j+i+20))
			peers = append(peers, fmt.Sprintf("2001:db8:%x:%x:ffff:ffff:ffff:0/112", 0x1000+i, 0x1000+j))
		}
		list = append(list, object{"localPorts": strings.Join(ports, ","), "peerPorts": strings.Join(ports, ","), "peers": strings.Join(peers, ",")})
	}
	b, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheLongestListOfExemptionsFitsAnAnnotation(t *testing.T) {
	n := newNode(t)
	list := exemptions(t)
	n.call(t, "ADD", chained("1.0.0").with(annotated(object{"halfclose.cni/exempt": list}))).ok(t).calm(t)
	r := n.record(t, blue)
	if p := joined(r); len(p.Exempt) != 64 || p.Mode != policy.Destroy || len(p.Exempt[63].LocalPorts) != 16 || len(p.Exempt[63].Peers) != 16 {
		t.Errorf("%d exemptions in mode %v, want 64 of 16 ranges", len(p.Exempt), p.Mode)
	}
	if r.Layers.Annotations["halfclose.cni/exempt"] != list {
		t.Error("the annotation is not recorded as it was written")
	}
}

func TestAddRecordsAnyMistakesInAnySize(t *testing.T) {
	keys := object{}
	for i := range 12_000 {
		keys[fmt.Sprintf("key%05d", i)] = i
	}
	for name, conf := range map[string]object{
		"a mode of 200,000 characters": annotated(object{"halfclose.cni/mode": strings.Repeat("<", 200_000)}),
		"12,000 unknown keys":          keys,
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.call(t, "ADD", chained("1.0.0").with(conf)).ok(t)
			if r := n.record(t, blue); joined(r).Mode != policy.Observe || len(r.Warnings) == 0 {
				t.Errorf("mode %v, warnings %q", joined(r).Mode, r.Warnings)
			}
		})
	}
}

func TestAddBoundsAndEscapesWhatAPodSupplies(t *testing.T) {
	for name, value := range map[string]any{"strings": "x", "numbers": 7} {
		t.Run(name, func(t *testing.T) {
			bad := object{}
			for i := range 1000 {
				bad["halfclose.cni/\x1b[2J\n"+strings.Repeat("x", i)] = value
			}
			n := newNode(t)
			o := n.call(t, "ADD", chained("1.0.0").with(annotated(bad))).ok(t)
			r := n.record(t, blue)
			if len(r.Warnings) == 0 || len(r.Warnings) > 20 || joined(r).Mode != policy.Observe {
				t.Errorf("%d warnings in mode %v, want a few in observe", len(r.Warnings), joined(r).Mode)
			}
			if len(r.Layers.Annotations) > 16+1 { // and how many more
				t.Errorf("%d unknown annotations are recorded", len(r.Layers.Annotations))
			}
			if strings.ContainsRune(o.stderr, '\x1b') || strings.Count(o.stderr, "\n") > 20 || len(o.stderr) > 1<<14 {
				t.Errorf("stderr is not escaped or bounded: %q", o.stderr)
			}
		})
	}
}

// cpu returns the CPU time that the process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// leastCPU returns the least CPU time of several calls of ADD: other goroutines and the collector use some, too.
func leastCPU(t *testing.T, n *node, conf object) time.Duration {
	t.Helper()
	args := &skel.CmdArgs{ContainerID: blue.ContainerID, IfName: blue.IfName, Netns: n.netns, StdinData: conf.bytes(t)}
	least := time.Hour
	for range 10 {
		before := cpu(t)
		n.callWith(t, "ADD", args).ok(t)
		least = min(least, cpu(t)-before)
	}
	return least
}

// The most annotations that Kubernetes allows. The bound is in CPU time, which does not grow on a busy machine, and relative to
// one annotation of another project with as many bytes, since the race detector slows both down.
func TestUnknownAnnotationsCostLittle(t *testing.T) {
	for name, value := range map[string]any{"strings": "", "numbers": 7} {
		t.Run(name, func(t *testing.T) {
			bad := object{}
			for size := 0; size < 256<<10; size += len("halfclose.cni/x00000") {
				bad[fmt.Sprintf("halfclose.cni/x%05d", len(bad))] = value
			}
			n := newNode(t)
			one := leastCPU(t, n, chained("1.0.0").with(annotated(object{"example.org/x": strings.Repeat("x", len(bad.bytes(t)))})))
			least := leastCPU(t, n, chained("1.0.0").with(annotated(bad)))
			if joined(n.record(t, blue)).Mode != policy.Observe {
				t.Error("the pod is not observed")
			}
			if least > 3*one {
				t.Errorf("%d annotations cost %v of CPU time, as many bytes in one %v", len(bad), least, one)
			}
		})
	}
}
