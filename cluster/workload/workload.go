// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package workload groups the leaks of pods by their workload, so that a leak of one program in a whole cluster is one line.
package workload

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Name returns the name of the workload to which a pod belongs by its name: that of its Deployment, StatefulSet, DaemonSet, Job
// or CronJob. Pods that no longer exist have one too. Kubernetes makes the ends of names from an alphabet without vowels, so
// that the name of a pod without a workload rarely has one.
func Name(pod string) string {
	head, last, ok := cutLast(pod)
	switch {
	case !ok:
		return pod
	case consistsOf(last, digits) && len(last) <= 4: // a StatefulSet's number
		return head
	case len(last) != 5 || !consistsOf(last, suffixRunes):
		return pod
	}
	if rest, hash, ok := cutLast(head); ok && (len(hash) >= 6 && len(hash) <= 10 && consistsOf(hash, hashRunes) || len(hash) >= 8 && consistsOf(hash, digits)) {
		return rest // a ReplicaSet's hash, or a CronJob's time
	}
	return head
}

const (
	digits      = "0123456789"
	suffixRunes = "bcdfghjklmnpqrstvwxz2456789" // k8s.io/apimachinery/pkg/util/rand
	hashRunes   = "456789bcdf"                  // the part of these that SafeEncodeString makes of a number
)

func cutLast(name string) (head, last string, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

func consistsOf(text, runes string) bool { return text != "" && strings.Trim(text, runes) == "" }

// Leak is a leak of a workload: the sockets of its pods with the same command, state, role, and address.
type Leak struct {
	Namespace string         `json:"namespace,omitempty"`
	Workload  string         `json:"workload"`
	Command   string         `json:"command,omitempty"` // of the owners; "" if they are unknown
	State     inetdiag.State `json:"state"`
	Role      policy.Role    `json:"role"`
	// Peer is the address that the peers of clients have in common, and LocalPort the port of servers. One of them is set.
	Peer      string         `json:"peer,omitempty"`
	LocalPort uint16         `json:"localPort,omitempty"`
	Sockets   int            `json:"sockets"`
	Verdicts  map[string]int `json:"verdicts"`
	Oldest    api.Seconds    `json:"oldestSeconds"`
	Newest    api.Seconds    `json:"newestSeconds"`
	// Growth is the sum of the growth per minute that is known, nil if none is.
	Growth *float64 `json:"growthPerMinute,omitempty"`
	Unread uint64   `json:"unreadBytes"`
	Held   int      `json:"held,omitempty"` // descriptors of ended sockets
	Pods   []string `json:"pods"`
	Nodes  []string `json:"nodes"`
}

// Name returns the namespace and the name of the workload.
func (l *Leak) Name() string {
	if l.Namespace == "" {
		return l.Workload
	}
	return l.Namespace + "/" + l.Workload
}

// key is what the sockets of a leak have in common.
type key struct {
	namespace, workload, command string
	state                        inetdiag.State
	role                         policy.Role
	peer                         string
	port                         uint16
}

// Leaks groups leaks. The zero value is ready to use.
type Leaks struct {
	groups map[key]*group
}

type group struct {
	Leak
	pods, nodes map[string]bool
	holders     map[holder]bool
}

// holder is a process on a node: several groups of one process repeat the number of its descriptors.
type holder struct {
	node string
	pid  int
}

// Add adds a leak of a pod on a node.
func (l *Leaks) Add(node string, g *api.LeakGroup) {
	k := keyOf(g)
	if l.groups == nil {
		l.groups = make(map[key]*group)
	}
	to := l.groups[k]
	if to == nil {
		to = &group{
			Leak: Leak{
				Namespace: k.namespace, Workload: k.workload, Command: k.command, State: k.state, Role: k.role, Peer: k.peer, LocalPort: k.port,
				Verdicts: make(map[string]int), Oldest: g.Oldest, Newest: g.Newest,
			},
			pods: make(map[string]bool), nodes: make(map[string]bool), holders: make(map[holder]bool),
		}
		l.groups[k] = to
	}
	to.Sockets += g.Sockets
	to.Unread += g.Unread
	to.Oldest, to.Newest = max(to.Oldest, g.Oldest), min(to.Newest, g.Newest)
	for verdict, n := range g.Verdicts {
		to.Verdicts[verdict] += n
	}
	if g.Growth != nil {
		if to.Growth == nil {
			to.Growth = new(float64)
		}
		*to.Growth += *g.Growth
	}
	if len(g.Owners) > 0 && !to.holders[holder{node, g.Owners[0].PID}] {
		to.holders[holder{node, g.Owners[0].PID}] = true
		to.Held += g.Held
	}
	to.pods[describe.Pod(g.Pod, g.ContainerID)], to.nodes[node] = true, true
}

func keyOf(g *api.LeakGroup) key {
	k := key{namespace: g.Pod.Namespace, workload: Name(g.Pod.Name), state: g.State, role: g.Role, peer: g.Peer}
	if g.Pod.Name == "" {
		k.namespace, k.workload = "", describe.Pod(g.Pod, g.ContainerID)
	}
	if len(g.Owners) > 0 {
		k.command = g.Owners[0].Command
	}
	if at, err := netip.ParseAddrPort(g.Local); err == nil {
		k.port = at.Port()
	}
	return k
}

// List returns the leaks, the one with the most sockets first.
func (l *Leaks) List() []Leak {
	list := []Leak{}
	for _, g := range l.groups {
		g.Pods, g.Nodes = slices.Sorted(maps.Keys(g.pods)), slices.Sorted(maps.Keys(g.nodes))
		list = append(list, g.Leak)
	}
	slices.SortFunc(list, func(a, b Leak) int {
		return cmp.Or(
			cmp.Compare(b.Sockets, a.Sockets), cmp.Compare(b.Oldest, a.Oldest), cmp.Compare(a.Name(), b.Name()), cmp.Compare(a.Command, b.Command),
			cmp.Compare(a.State, b.State), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.LocalPort, b.LocalPort))
	})
	return list
}

// Address returns the address that the sockets have in common.
func (l *Leak) Address() string {
	if l.Peer != "" {
		return "peer " + l.Peer
	}
	return "port " + strconv.Itoa(int(l.LocalPort))
}
