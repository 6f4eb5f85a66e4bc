// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cniconf_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

const listWithOurs = `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge"},{"type":"halfclose","capabilities":{"io.kubernetes.cri.pod-annotations":true}}]}`

// runPlugins lets libcni run plugins that return a fixed result.
type runPlugins struct{ version.PluginDecoder }

const result = `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/run/netns/a"}],"ips":[{"interface":0,"address":"10.0.0.2/24"}]}`

func (*runPlugins) ExecPlugin(context.Context, string, []byte, []string) ([]byte, error) {
	return []byte(result), nil
}

func (*runPlugins) FindInPath(plugin string, _ []string) (string, error) {
	return "/bin/" + plugin, nil
}

var _ invoke.Exec = (*runPlugins)(nil)

func TestTheCacheIsReadAsLibcniWritesIt(t *testing.T) {
	dir := t.TempDir()
	cni := libcni.NewCNIConfigWithCacheDir(nil, dir, &runPlugins{})
	runtime := &libcni.RuntimeConf{
		ContainerID: "0123", NetNS: "/run/netns/a", IfName: "eth0",
		Args:           [][2]string{{"K8S_POD_NAMESPACE", "shop"}, {"K8S_POD_NAME", "web-0"}},
		CapabilityArgs: map[string]any{"io.kubernetes.cri.pod-annotations": map[string]string{"halfclose.cni/grace": "2s"}},
	}
	list, err := libcni.NetworkConfFromBytes([]byte(listWithOurs))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cni.AddNetworkList(t.Context(), list, runtime); err != nil {
		t.Fatal(err)
	}
	single, err := libcni.NetworkPluginConfFromBytes([]byte(`{"cniVersion":"1.0.0","name":"single","type":"halfclose"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cni.AddNetwork(t.Context(), single, &libcni.RuntimeConf{ContainerID: "4567", IfName: "eth0"}); err != nil {
		t.Fatal(err)
	}

	all, problems := cniconf.ReadCache("", []string{filepath.Join(dir, "results")})
	if len(problems) > 0 || len(all) != 2 {
		t.Fatalf("got %d attachments, %v", len(all), problems)
	}
	compact := func(data []byte) string {
		t.Helper()
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	got := all[0]
	if compact(got.Result) != compact([]byte(result)) {
		t.Errorf("result %s", got.Result)
	}
	if want := `{"io.kubernetes.cri.pod-annotations":{"halfclose.cni/grace":"2s"}}`; compact(got.CapabilityArgs) != want {
		t.Errorf("capability arguments %s, want %s", got.CapabilityArgs, want)
	}
	got.Result, got.CapabilityArgs = nil, nil
	want := cniconf.CachedAttachment{
		File: filepath.Join(dir, "results/pods-0123-eth0"), ContainerID: "0123", IfName: "eth0", NetworkName: "pods", Netns: "/run/netns/a",
		Config: []byte(listWithOurs), Args: runtime.Args,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attachment (-want +got)\n%s", diff)
	}
	if got.Container() != "shop/web-0" || all[1].Container() != "4567" {
		t.Errorf("containers %q and %q", got.Container(), all[1].Container())
	}
	for _, a := range all {
		if !a.Lists("halfclose") || a.Lists("tuning") {
			t.Errorf("%s lists halfclose: %t, tuning: %t", a.File, a.Lists("halfclose"), a.Lists("tuning"))
		}
	}
}

// TestTheCacheOfCRIOIsRead has a file of CRI-O 1.37 (ocicni 0.5.0, libcni 1.3.0), with shorter values. CRI-O adds the
// annotations of every pod, even if no plugin declares the capability.
func TestTheCacheOfCRIOIsRead(t *testing.T) {
	const file = `{"kind":"cniCacheV1","containerId":"89ab","config":"eyJuYW1lIjoicG9kcyIsInBsdWdpbnMiOlt7InR5cGUiOiJicmlkZ2UifSx7InR5cGUiOiJoYWxmY2xvc2UifV19",` +
		`"ifName":"eth0","networkName":"pods","netns":"/var/run/netns/6f9c0a5e","cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAMESPACE","default"],` +
		`["K8S_POD_NAME","web"],["K8S_POD_INFRA_CONTAINER_ID","89ab"],["K8S_POD_UID","u"]],` +
		`"capabilityArgs":{"cgroupPath":"/kubepods/pod1","io.kubernetes.cri.pod-annotations":{"io.kubernetes.cri-o.SandboxID":"89ab"}},` +
		`"result":{"cniVersion":"1.0.0","dns":{},"interfaces":[{"name":"eth0"}]}}`
	a, err := cniconf.ParseCached([]byte(file))
	if err != nil || a.Netns != "/var/run/netns/6f9c0a5e" || a.Container() != "default/web" || !a.Lists("halfclose") || a.Lists("portmap") {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestUnreadableFilesOfTheCacheAreSkipped(t *testing.T) {
	dir := confDir(t, map[string]string{
		"a-broken":      `{"kind":`,
		"b-old":         `{"cniVersion":"0.3.1","ips":[]}`,
		"c-config":      `{"kind":"cniCacheV1","containerId":"c","config":"bm90IEpTT04="}`,
		"d-not-base64":  `{"kind":"cniCacheV1","config":"%"}`,
		"e-directory/":  "",
		"f-dangling":    "-> none",
		"g-unknown-key": `{"kind":"cniCacheV1","containerId":"g","config":"e30=","future":1}`,
	})
	all, problems := cniconf.ReadCache(hostfs.Dir(""), []string{dir, filepath.Join(dir, "none")})
	var ids, text []string
	for _, a := range all {
		ids = append(ids, a.ContainerID)
		if a.Lists("halfclose") {
			t.Errorf("%s lists halfclose", a.ContainerID)
		}
	}
	for _, p := range problems {
		text = append(text, p.Error())
	}
	if !cmp.Equal([]string{"c", "g"}, ids) || len(problems) != 3 {
		t.Errorf("got attachments %v, problems %q", ids, text)
	}
	for i, name := range []string{"a-broken", "b-old: unknown kind", "d-not-base64"} {
		if i < len(text) && !strings.Contains(text[i], name) {
			t.Errorf("problem %q, want %q in it", text[i], name)
		}
	}
	file := filepath.Join(dir, "a-broken")
	if _, problems := cniconf.ReadCache("", []string{file}); len(problems) != 1 {
		t.Errorf("a file in place of the directory: %v", problems)
	}
	if err := os.Truncate(file, cniconf.MaxFileSize+1); err != nil {
		t.Fatal(err)
	}
	if _, problems := cniconf.ReadCache("", []string{dir}); len(problems) != 3 {
		t.Errorf("with a file above the limit: %v", problems)
	}
}

func FuzzParseCached(f *testing.F) {
	f.Add([]byte(`{"kind":"cniCacheV1","containerId":"a","config":"e30=","cniArgs":[["K8S_POD_NAME"]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := cniconf.ParseCached(data)
		if err == nil {
			a.Lists("halfclose")
			a.Container()
		}
	})
}
