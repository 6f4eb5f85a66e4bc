// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/halfclose/halfclose/cluster/fleet"
	"github.com/halfclose/halfclose/cluster/kube"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
)

// nodeView is what the output says of a node itself.
type nodeView struct {
	Node string `json:"node"`
	Pod  string `json:"pod,omitempty"` // of the DaemonSet, as namespace/name
	// Failure is why the node has not answered, nil if it has.
	Failure *fleet.Failure `json:"failure,omitempty"`
	// Problems are what its answer lacks.
	Problems []string `json:"problems,omitempty"`
}

// fleetOf is the agents that a command asks.
type fleetOf struct {
	cluster Cluster
	found   kube.Found
}

// discoverTimeout bounds the requests to the API server that find the nodes.
const discoverTimeout = 30 * time.Second

// discover finds the agents. A query for one pod that exists selects the agent of its node.
func (e *env) discover(ctx context.Context, q api.PodQuery) (*fleetOf, error) {
	cluster, err := e.connect()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	found, err := cluster.Agents(ctx, e.selection)
	if err != nil {
		return nil, err
	}
	if q.Pod != "" {
		namespace, name, _ := strings.Cut(q.Pod, "/")
		node, err := cluster.PodNode(ctx, namespace, name)
		if err == nil && node != "" {
			found.Agents = slices.DeleteFunc(found.Agents, func(a fleet.Agent) bool { return a.Node != node })
			found.Without, found.Problem = nil, ""
			if len(found.Agents) == 0 {
				return nil, fmt.Errorf("pod %s is on node %s, which is not selected or has no pod of halfclose", q.Pod, node)
			}
		} else if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return nil, err
		} // else any node may have had the pod
	}
	e.noteSkew(found.Agents)
	return &fleetOf{cluster, found}, nil
}

// noteSkew notes nodes whose image has the tag of another release than this program.
func (e *env) noteSkew(agents []fleet.Agent) {
	own := strings.TrimPrefix(e.build.Version, "v")
	if !isRelease(own) {
		return
	}
	byVersion := make(map[string][]string)
	var versions []string
	for _, a := range agents {
		image, _, _ := strings.Cut(a.Image, "@")
		tag := strings.TrimPrefix(image[strings.LastIndexByte(image, ':')+1:], "v")
		if !isRelease(tag) || tag == own {
			continue
		}
		if byVersion[tag] == nil {
			versions = append(versions, tag)
		}
		byVersion[tag] = append(byVersion[tag], a.Node)
	}
	slices.Sort(versions)
	for _, v := range versions {
		e.note("%s halfclose %s, and this is %s: install the plugin of the same version, if an answer cannot be read", runs(byVersion[v]), v, own)
	}
}

// runs returns the subject of a remark about nodes, with its verb.
func runs(nodes []string) string {
	const few = 3
	switch {
	case len(nodes) == 1:
		return nodes[0] + " runs"
	case len(nodes) <= few:
		return strings.Join(nodes, ", ") + " run"
	}
	return fmt.Sprintf("%s and %d more run", strings.Join(nodes[:few], ", "), len(nodes)-few)
}

// isRelease reports whether a version is that of a release: three numbers, and perhaps a suffix as in 1.2.3-rc.1.
func isRelease(version string) bool {
	number, suffix, _ := strings.Cut(version, "-")
	if strings.HasPrefix(suffix, "dev") || strings.Contains(suffix, "-g") || strings.HasSuffix(suffix, "dirty") {
		return false // of a working tree
	}
	parts := strings.Split(number, ".")
	return len(parts) == 3 && !slices.ContainsFunc(parts, func(p string) bool { return p == "" || strings.Trim(p, "0123456789") != "" })
}

// ask runs a command of halfclose on all agents. The progress is on stderr, if that is a terminal.
func ask[T any](ctx context.Context, e *env, of *fleetOf, command []string, read func(fleet.Agent, io.Reader) (T, error)) ([]fleet.Answer[T], error) {
	progress := e.startProgress(len(of.found.Agents))
	defer progress.stop()
	f := &fleet.Fleet{Executor: of.cluster, Agents: of.found.Agents, Parallel: e.parallel, Timeout: e.timeout, Progress: progress.update}
	answers, err := fleet.Ask(ctx, f, command, read)
	if err != nil {
		return nil, errors.New("interrupted")
	}
	return answers, nil
}

// nodesOf returns the views of the nodes.
func nodesOf[T any](of *fleetOf, answers []fleet.Answer[T], problems func(T) []string) []nodeView {
	views := make([]nodeView, 0, len(answers)+len(of.found.Without))
	for i := range answers {
		a := &answers[i]
		v := nodeView{Node: a.Node, Pod: a.Namespace + "/" + a.Pod, Failure: a.Failure}
		if a.Failure == nil && problems != nil {
			v.Problems = problems(a.Value)
		}
		views = append(views, v)
	}
	for _, name := range of.found.Without {
		views = append(views, nodeView{Node: name, Failure: &fleet.Failure{Reason: fleet.NoPod, Message: "the node has no pod of halfclose"}})
	}
	return views
}

// finish notes what is missing, and returns its error.
func (e *env) finish(of *fleetOf, views []nodeView) error {
	failed, asked, incomplete := 0, 0, 0
	byFailure := make(map[fleet.Failure][]string)
	var failures []fleet.Failure
	for _, v := range views {
		for _, problem := range v.Problems {
			incomplete++
			e.note("%s: %s", v.Node, problem)
		}
		if v.Failure != nil && v.Failure.Reason == fleet.NoPod {
			continue
		}
		asked++
		if v.Failure == nil {
			continue
		}
		failed++
		if byFailure[*v.Failure] == nil {
			failures = append(failures, *v.Failure)
		}
		byFailure[*v.Failure] = append(byFailure[*v.Failure], v.Node)
	}
	for _, f := range failures {
		e.note("no answer from %s: %v", strings.Join(byFailure[f], ", "), &f)
	}
	if n := len(of.found.Without); n > 0 {
		e.note("%s no pod of halfclose: %s", describe.Plural(n, "node has", "nodes have"), strings.Join(of.found.Without, ", "))
	}
	if of.found.Problem != "" {
		e.note("%s", of.found.Problem)
	}
	switch {
	case failed == asked:
		return fmt.Errorf("no node answered (%s asked)", describe.Plural(asked, "node was", "nodes were"))
	case failed > 0:
		return partialError{fmt.Errorf("the answer is partial: %d of %d nodes did not answer", failed, asked)}
	case incomplete > 0:
		return partialError{errors.New("the answers of some nodes are incomplete")}
	}
	return nil
}

// nodeItem is an element of a node's list. Its JSON is the element, with the node.
type nodeItem[T any] struct {
	node  string
	raw   json.RawMessage
	value T
}

// MarshalJSON implements json.Marshaler. Fields that this version does not know stay.
func (i nodeItem[T]) MarshalJSON() ([]byte, error) { return withNode(i.node, i.raw) }

// withNode adds the field "node" to an object.
func withNode(node string, raw json.RawMessage) ([]byte, error) {
	name, err := json.Marshal(node)
	if err != nil {
		return nil, err
	}
	if len(raw) < 2 || raw[0] != '{' {
		return nil, errors.New("not a JSON object")
	}
	out := append([]byte(`{"node":`), name...)
	if string(raw) != "{}" {
		out = append(out, ',')
	}
	return append(out, raw[1:]...), nil
}

// list is the answer of a node with a list in it.
type list[T any] struct {
	items []nodeItem[T]
	rest  map[string]json.RawMessage
	// omitted is the number of elements beyond the limit. Unreadable is the number that could not be decoded, and why the reason
	// of the first one.
	omitted, unreadable int
	why                 error
}

// maxListBytes bounds the elements of a node's list that are kept.
const maxListBytes = 64 << 20

// readList returns a function that reads a list, and keeps up to limit elements; a limit of 0 is none.
func readList[T any](name string, limit int) func(fleet.Agent, io.Reader) (list[T], error) {
	return func(a fleet.Agent, r io.Reader) (l list[T], err error) {
		size := 0
		l.rest, err = fleet.ReadObject(r, name, func(raw json.RawMessage) error {
			item := nodeItem[T]{node: a.Node, raw: raw}
			if err := json.Unmarshal(raw, &item.value); err != nil {
				if l.unreadable++; l.why == nil {
					l.why = err
				}
				return nil
			}
			if size += len(raw); limit > 0 && len(l.items) >= limit || size > maxListBytes {
				l.omitted++
				return nil
			}
			l.items = append(l.items, item)
			return nil
		})
		return l, err
	}
}

// problems returns what the answer lacks.
func (l list[T]) problems() (problems []string) {
	if raw := l.rest["problems"]; raw != nil {
		if err := json.Unmarshal(raw, &problems); err != nil {
			problems = []string{"its problems cannot be read: " + err.Error()}
		}
	}
	if l.unreadable > 0 {
		problems = append(problems, fmt.Sprintf("%s: %v: another version?", describe.Plural(l.unreadable, "element cannot be read", "elements cannot be read"), l.why))
	}
	return problems
}

// number returns a number beside the list, 0 if there is none.
func (l list[T]) number(key string) (n int) {
	_ = json.Unmarshal(l.rest[key], &n) // absent, or of another version
	return n
}

// stale returns how old the answer may be.
func (l list[T]) stale() (s api.Seconds) {
	_ = json.Unmarshal(l.rest["staleSeconds"], &s) // absent, or of another version
	return s
}

// isUnknownEverywhere reports whether a query for a pod or a namespace matched nothing on all nodes that answered.
func isUnknownEverywhere[T any](q api.PodQuery, answers []fleet.Answer[list[T]]) bool {
	return !q.IsZero() && !slices.ContainsFunc(answers, func(a fleet.Answer[list[T]]) bool {
		return a.Failure != nil || a.Code == 0 || len(a.Value.items) > 0
	})
}

// noteStale notes the age of the oldest answer.
func noteStale[T any](e *env, answers []fleet.Answer[list[T]]) {
	var oldest api.Seconds
	node := ""
	for _, a := range answers {
		if s := a.Value.stale(); s > oldest {
			oldest, node = s, a.Node
		}
	}
	if text := describe.Stale(oldest); text != "" {
		e.note("%s: %s", node, text)
	}
}
