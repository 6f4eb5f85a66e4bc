// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/halfclose/halfclose/cluster/fleet"
	"github.com/halfclose/halfclose/cluster/kube"
	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/state"
)

// result is what halfclose returns on a node.
type result struct {
	stdout, stderr string
	code           int
	err            error // of the connection
	hangs          bool
}

// prints returns a result with a value as JSON.
func prints(v any) result {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	return result{stdout: string(data) + "\n"}
}

// fakeCluster has nodes on which halfclose returns a fixed result for each of its commands.
type fakeCluster struct {
	nodes    map[string]func(args []string) result
	broken   []fleet.Agent // agents that cannot run a command
	without  []string
	pods     map[string]string // node by namespace/name
	noUser   bool
	mu       sync.Mutex
	commands map[string][]string // that ran, by node
}

func (c *fakeCluster) Agents(_ context.Context, s kube.Selection) (kube.Found, error) {
	f := kube.Found{Agents: slices.Clone(c.broken), Without: c.without}
	for name := range c.nodes {
		if len(s.Nodes) == 0 || slices.Contains(s.Nodes, name) {
			f.Agents = append(f.Agents, fleet.Agent{Node: name, Namespace: "kube-system", Pod: "halfclose-" + name, Image: "halfclose:1.2.3"})
		}
	}
	return f, nil
}

func (c *fakeCluster) Exec(ctx context.Context, a fleet.Agent, args []string, stdout, stderr io.Writer) error {
	c.mu.Lock()
	if c.commands == nil {
		c.commands = make(map[string][]string)
	}
	c.commands[a.Node] = append(c.commands[a.Node], strings.Join(args, " "))
	c.mu.Unlock()
	r := c.nodes[a.Node](args)
	if r.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	_, _ = io.WriteString(stdout, r.stdout)
	_, _ = io.WriteString(stderr, r.stderr)
	if r.code != 0 {
		return &fleet.ExitError{Code: r.code}
	}
	return r.err
}

func (c *fakeCluster) PodNode(_ context.Context, namespace, name string) (string, error) {
	if node, ok := c.pods[namespace+"/"+name]; ok {
		return node, nil
	}
	return "", apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
}

func (c *fakeCluster) HasNamespace(_ context.Context, name string) bool { return name == "shop" }

func (c *fakeCluster) User(context.Context) (string, error) {
	if c.noUser {
		return "", errors.New("forbidden")
	}
	return "alice", nil
}

func (c *fakeCluster) Pods(_ context.Context, namespace string) (names []string, err error) {
	for name := range c.pods {
		if strings.HasPrefix(name, namespace) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (c *fakeCluster) Namespaces(context.Context) ([]string, error) {
	return []string{"kube-system", "shop"}, nil
}

func (c *fakeCluster) Nodes(context.Context) ([]string, error) {
	return []string{"node-1", "node-2"}, nil
}

// ran is what a command of the plugin did.
type ran struct {
	code        int
	out, err    string
	outAsObject map[string]any
}

// call runs a command of the plugin.
func (c *fakeCluster) call(t *testing.T, args ...string) ran {
	t.Helper()
	return c.callOn(t, "", args...)
}

// callOn runs a command with input from a terminal, unless that is empty.
func (c *fakeCluster) callOn(t *testing.T, typed string, args ...string) ran {
	t.Helper()
	var out, err bytes.Buffer
	e := &env{
		in: strings.NewReader(typed), err: &err,
		printer: printer.Printer{Out: &out, Nodes: true, Now: func() time.Time { return apitest.Then() }},
		build:   buildinfo.Info{Version: "1.2.3", Commit: "unknown"}, config: genericclioptions.NewConfigFlags(true),
		connect: func() (Cluster, error) { return c, nil }, terminal: func(any) bool { return typed != "" },
	}
	r := ran{code: run(t.Context(), args, e), out: out.String(), err: err.String()}
	if slices.Contains(args, "json") {
		if err := json.Unmarshal([]byte(r.out), &r.outAsObject); err != nil {
			t.Errorf("%v: %v in %s", args, err, r.out)
		}
	}
	return r
}

func always(r result) func([]string) result { return func([]string) result { return r } }

// leaksOf returns the leaks of a node, whose pods have the names of a Deployment's.
func leaksOf(suffix string) api.LeakList {
	list := apitest.Leaks()
	for i := range list.Groups {
		list.Groups[i].Pod = state.Pod{Namespace: "shop", Name: "web-7d4b9c6f5d-" + suffix}
	}
	return list
}

// statusOf returns the status of a node.
func statusOf(edit func(*api.Status)) api.Status {
	s := apitest.Status()
	s.Version.Version = "1.2.3"
	if edit != nil {
		edit(&s)
	}
	return s
}

func TestScreens(t *testing.T) {
	page := apitest.Page()
	c := &fakeCluster{
		nodes: map[string]func([]string) result{},
		broken: []fleet.Agent{{
			Node: "node-3", Namespace: "kube-system", Pod: "halfclose-node-3", Failure: &fleet.Failure{Reason: fleet.NotReady, Message: "pod kube-system/halfclose-node-3 waits: CrashLoopBackOff"},
		}},
		without: []string{"node-4"},
	}
	for _, suffix := range []string{"x2k8p", "b4c5d"} {
		name := map[string]string{"x2k8p": "node-1", "b4c5d": "node-2"}[suffix]
		c.nodes[name] = func(args []string) result {
			switch args[0] {
			case "leaks":
				return prints(leaksOf(suffix))
			case "sockets":
				return prints(api.SocketList{Sockets: apitest.Sockets()[:2], Omitted: 3, Problems: []string{}})
			case "history":
				return prints(page)
			case "status":
				return prints(statusOf(nil))
			}
			return result{code: 2, stderr: "halfclose: unknown command"}
		}
	}
	for _, command := range []string{"leaks", "leaks --per-pod", "sockets", "history", "status"} {
		t.Run(command, func(t *testing.T) {
			r := c.call(t, strings.Fields(command)...)
			if r.code != exitPartial {
				t.Errorf("exit code %d, want %d for the missing node", r.code, exitPartial)
			}
			golden.Text(t, strings.ReplaceAll(command, " --", "-"), r.out+"---\n"+r.err)
		})
	}
}

func TestTheExitCodeSaysWhatIsMissing(t *testing.T) {
	full := always(prints(api.LeakList{Groups: []api.LeakGroup{}}))
	for _, tt := range []struct {
		name   string
		nodes  map[string]func([]string) result
		args   []string
		code   int
		stderr string
	}{
		{"all nodes answer", map[string]func([]string) result{"a": full, "b": full}, nil, cmdline.Success, "no leaks"},
		{"one hangs", map[string]func([]string) result{"a": full, "b": always(result{hangs: true})}, []string{"--timeout=20ms"}, exitPartial, "no answer from b: timeout: no whole answer within 20ms"},
		{"one has no reaper", map[string]func([]string) result{"a": full, "b": always(result{code: 1, stderr: "halfclose: no reaper is running\n"})}, nil, exitPartial, "no answer from b: failed: no reaper is running"},
		{"one prints no JSON", map[string]func([]string) result{"a": full, "b": always(result{stdout: "\x1b[2Jhello"})}, nil, exitPartial, `no answer from b: bad-answer: read JSON: invalid character '\x1b'`},
		{"no one answers", map[string]func([]string) result{"a": always(result{err: errors.New("refused")}), "b": always(result{err: errors.New("refused")})}, nil, cmdline.Failure, "no answer from a, b: failed: refused"},
		{"no node has the namespace", map[string]func([]string) result{"a": always(result{stdout: `{"groups": []}`, code: 1})}, []string{"-n", "nope"}, cmdline.Failure, "no node has a pod in namespace nope"},
		{"a wrong flag", map[string]func([]string) result{"a": full}, []string{"--state", "HALF"}, cmdline.Usage, "--state"},
		{"a wrong format", map[string]func([]string) result{"a": full}, []string{"-o", "xml"}, cmdline.Usage, "--output is"},
		{"a namespace and all", map[string]func([]string) result{"a": full}, []string{"-n", "shop", "-A"}, cmdline.Usage, "exclude each other"},
		{"a pod without its namespace", map[string]func([]string) result{"a": full}, []string{"--pod", "web"}, cmdline.Usage, "want namespace/name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &fakeCluster{nodes: tt.nodes}
			r := c.call(t, append([]string{"leaks"}, tt.args...)...)
			if r.code != tt.code || !strings.Contains(r.err, tt.stderr) {
				t.Errorf("exit code %d, want %d; stderr %q, want %q", r.code, tt.code, r.err, tt.stderr)
			}
		})
	}
}

func TestFieldsAndWordsOfAnotherVersionStayInJSON(t *testing.T) {
	c := &fakeCluster{nodes: map[string]func([]string) result{
		"a": always(result{stdout: `{"sockets": [{"local": "10.0.0.1:1", "verdict": "destroy", "newField": {"x": 1}}, {"local": ["of another type"]}], "problems": []}`}),
	}}
	r := c.call(t, "sockets", "-o", "json")
	sockets, _ := r.outAsObject["sockets"].([]any)
	if len(sockets) != 1 {
		t.Fatalf("got %s", r.out)
	}
	first, _ := sockets[0].(map[string]any)
	if first["node"] != "a" || first["newField"] == nil {
		t.Errorf("got %v", first)
	}
	if r.code != exitPartial || !strings.Contains(r.err, "a: 1 element cannot be read") {
		t.Errorf("exit code %d, stderr %q", r.code, r.err)
	}
}

func TestNamesFromANodeAreEscaped(t *testing.T) {
	const hostile = "web\x1b[2J\u202e"
	list := leaksOf("x2k8p")
	list.Groups[0].Owners[0].Command, list.Groups[0].Pod.Name = hostile, hostile
	c := &fakeCluster{nodes: map[string]func([]string) result{
		"a": always(prints(list)), "b": always(result{code: 1, stderr: "halfclose: " + hostile}),
	}}
	for _, args := range [][]string{{"leaks"}, {"leaks", "-o", "wide"}, {"leaks", "--per-pod"}, {"leaks", "-o", "json"}, {"leaks", "-o", "yaml", "--per-pod"}} {
		r := c.call(t, args...)
		if strings.ContainsAny(r.out+r.err, "\x1b\u202e") {
			t.Errorf("%v prints %q", args, r.out+r.err)
		}
	}
}

func TestANodeListsNoMoreSocketsThanTheLimit(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"sockets": [`)
	for i := range 50_000 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"local": "10.0.0.1:1", "peer": "10.0.0.2:2", "verdict": "destroy", "state": "CLOSE_WAIT"}`)
	}
	b.WriteString(`], "problems": []}`)
	c := &fakeCluster{nodes: map[string]func([]string) result{"a": always(result{stdout: b.String()})}}
	r := c.call(t, "sockets", "--limit", "10", "-o", "json")
	if sockets, _ := r.outAsObject["sockets"].([]any); len(sockets) != 10 || r.outAsObject["omitted"] != 49_990.0 {
		t.Errorf("%d sockets and %v omitted, want 10 and 49990", len(sockets), r.outAsObject["omitted"])
	}
	if !strings.Contains(r.err, "a: 49990 more sockets are not listed (--limit 10)") {
		t.Errorf("stderr is %q", r.err)
	}
}

func TestHistoryIsMergedByTime(t *testing.T) {
	page := func(minutes ...int) result {
		p := api.HistoryPage{Since: apitest.Then().Add(-time.Hour)}
		for _, m := range minutes {
			en := apitest.Entries()[0]
			en.Time = apitest.Then().Add(time.Duration(m) * time.Minute)
			p.Entries = append(p.Entries, en)
		}
		return prints(p)
	}
	c := &fakeCluster{nodes: map[string]func([]string) result{"a": always(page(1, 4, 6)), "b": always(page(2, 3, 5))}}
	r := c.call(t, "history", "--tail", "4", "--no-headers")
	var order string
	for line := range strings.Lines(r.out) {
		order += line[:1]
	}
	if order != "bab"+"a" {
		t.Errorf("the nodes are %s, want baba:\n%s", order, r.out)
	}
	if got := c.commands["a"]; len(got) != 1 || got[0] != "history --output=json --tail=4" {
		t.Errorf("a ran %q", got)
	}
	c.call(t, "history", "--since", "10m", "-n", "shop", "--summary")
	if got := c.commands["b"][1]; got != "history --output=json --namespace=shop --since=2026-01-02T02:54:05Z --summary" {
		t.Errorf("b ran %q", got)
	}
}

func TestAPodIsAskedAboutOnItsNodeAlone(t *testing.T) {
	empty := always(prints(api.SocketList{Sockets: []api.SocketView{}, Problems: []string{}}))
	c := &fakeCluster{nodes: map[string]func([]string) result{"a": empty, "b": empty}, pods: map[string]string{"shop/web-1": "b"}}
	c.call(t, "sockets", "--pod", "shop/web-1")
	if c.commands["a"] != nil || len(c.commands["b"]) != 1 {
		t.Errorf("ran %v, want a command on b", c.commands)
	}
	c.commands = nil
	c.call(t, "sockets", "-n", "shop", "--pod", "gone") // it may have been on any node
	if len(c.commands) != 2 {
		t.Errorf("ran %v, want a command on each node", c.commands)
	}
}

// modeOf returns the report of a node with an effective mode.
func modeOf(m policy.Mode) printer.ModeReport {
	return printer.NewModeReport(api.ModeView{Effective: m, Reaper: policy.Destroy, SwitchFile: "/var/lib/halfclose/mode"}, nil)
}

func TestModeIsSetOnAllNodesAndLoudAboutTheOthers(t *testing.T) {
	c := &fakeCluster{nodes: map[string]func([]string) result{
		"a": always(prints(modeOf(policy.Observe))), "b": always(result{hangs: true}), "c": always(result{err: &fleet.Failure{Reason: fleet.Forbidden, Message: "no"}}),
	}}
	r := c.call(t, "mode", "observe", "--pod", "shop/web-1", "--for", "2h", "--reason", "INC-7", "--timeout", "20ms")
	if r.code != exitPartial {
		t.Errorf("exit code %d", r.code)
	}
	for _, want := range []string{"a     set", "b     UNKNOWN", "c     NOT SET"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("stdout lacks %q:\n%s", want, r.out)
		}
	}
	if want := `mode observe did not take effect on 2 of 3 nodes: retry with "kubectl halfclose mode observe --pod=shop/web-1 --node=b,c"`; !strings.Contains(r.err, want) {
		t.Errorf("stderr lacks %s:\n%s", want, r.err)
	}
	want := "mode observe --output=json --who=alice (kubectl) --pod=shop/web-1 --for=2h0m0s --reason=INC-7"
	if got := c.commands["a"]; len(got) != 1 || got[0] != want {
		t.Errorf("a ran %q, want %q", got, want)
	}
}

func TestANodeThatStaysMoreConservativeIsReported(t *testing.T) {
	capped := prints(modeOf(policy.Observe))
	capped.code, capped.stderr = 1, "halfclose: the switch is set to destroy, but the mode is observe because of the reaper's --mode observe\n"
	c := &fakeCluster{noUser: true, nodes: map[string]func([]string) result{"a": always(prints(modeOf(policy.Destroy))), "b": always(capped)}}
	r := c.call(t, "mode", "destroy", "--yes")
	if r.code != cmdline.Failure || !strings.Contains(r.err, "1 node is more conservative: b") || !strings.Contains(r.out, "because of the reaper's --mode observe") {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.err)
	}
}

func TestDestructionOnWholeNodesIsConfirmed(t *testing.T) {
	node := func(args []string) result {
		if slices.Contains(args, "--dry-run") {
			return prints(api.DryRun{Destroys: 7, Questions: 2, Pods: []api.DryRunPod{{Pod: state.Pod{Namespace: "shop", Name: "web"}, Mode: policy.Destroy, HalfClosed: 9, Destroys: 7, Questions: 2}}})
		}
		return prints(modeOf(policy.Destroy))
	}
	for _, tt := range []struct {
		name, typed string
		args        []string
		code        int
		sets        bool
		stderr      string
	}{
		{"with yes", "y\n", nil, cmdline.Success, true, "would destroy 14 sockets and ask 4 peers at once"},
		{"anything else is no", "what?\n", nil, cmdline.Failure, false, "no switch was changed"},
		{"the end of the input is no", "y", nil, cmdline.Failure, false, "Allow destruction on 2 nodes?"},
		{"not without a terminal", "", nil, cmdline.Usage, false, "it needs --yes"},
		{"not with --yes", "", []string{"--yes"}, cmdline.Success, true, ""},
		{"not for a namespace", "", []string{"-n", "shop"}, cmdline.Success, true, ""},
		{"a namespace that does not exist", "", []string{"-n", "nope"}, cmdline.Failure, false, "namespace nope does not exist"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &fakeCluster{nodes: map[string]func([]string) result{"a": node, "b": node}}
			r := c.callOn(t, tt.typed, append([]string{"mode", "destroy"}, tt.args...)...)
			sets := slices.ContainsFunc(c.commands["a"], func(command string) bool { return strings.Contains(command, "--who=") })
			if r.code != tt.code || sets != tt.sets || !strings.Contains(r.err, tt.stderr) {
				t.Errorf("exit code %d, want %d; sets the mode: %v, want %v; stderr %q", r.code, tt.code, sets, tt.sets, r.err)
			}
		})
	}
}

func TestANodeOfAnotherVersionIsNoted(t *testing.T) {
	c := &fakeCluster{nodes: map[string]func([]string) result{"a": always(prints(api.LeakList{}))}}
	if r := c.call(t, "leaks"); strings.Contains(r.err, "runs halfclose") {
		t.Errorf("a node of the same version is noted: %s", r.err)
	}
	for _, version := range []string{"1.3.0", "v0.9.0-rc.1"} {
		if !isRelease(strings.TrimPrefix(version, "v")) {
			t.Errorf("%s is no release", version)
		}
	}
	for _, version := range []string{"latest", "devel", "1.2", "1.2.3-4-gabcdef", "1.2.3-dirty", "1.2.3-dev.gabcdef", "abcdef0"} {
		if isRelease(version) {
			t.Errorf("%s is a release", version)
		}
	}
	e := &env{err: new(bytes.Buffer), build: buildinfo.Info{Version: "v1.2.3"}}
	e.noteSkew([]fleet.Agent{{Node: "a", Image: "r:5000/halfclose:1.3.0@sha256:0"}, {Node: "b", Image: "halfclose:v1.2.3"}, {Node: "c", Image: "r:5000/halfclose"}})
	if got := e.err.(*bytes.Buffer).String(); !strings.Contains(got, "a runs halfclose 1.3.0, and this is 1.2.3") {
		t.Errorf("got %q", got)
	}
}

func TestNamesOfTheClusterAreCompleted(t *testing.T) {
	c := &fakeCluster{pods: map[string]string{"shop/web-1": "a", "shop/web-2": "a", "other/x": "a"}}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"leaks", "--pod", ""}, "other/x shop/web-1 shop/web-2"},
		{[]string{"explain", "-n", "shop", ""}, "web-1 web-2"},
		{[]string{"leaks", "-n", ""}, "kube-system shop"},
		{[]string{"status", "--node", ""}, "node-1 node-2"},
		{[]string{"mode", ""}, "destroy observe"},
		{[]string{"leaks", "--state", ""}, "CLOSE_WAIT FIN_WAIT2"},
	} {
		r := c.call(t, append([]string{"__complete"}, tt.args...)...)
		words := strings.Fields(r.out)
		if got := strings.Join(words[:max(len(words)-1, 0)], " "); got != tt.want { // the last one is the directive
			t.Errorf("%v: got %q, want %q", tt.args, got, tt.want)
		}
	}
}
