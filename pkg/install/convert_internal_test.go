// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"
)

func TestASinglePluginBecomesAList(t *testing.T) {
	conf := `{
	"name": "pods",
	"type": "ptp", "mtu": 9000,
	"cniVersion": "0.3.1"
}
`
	got, err := listOf([]byte(conf), nil, entry(t, `{}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "cniVersion": "0.3.1",
  "name": "pods",
  "plugins": [
    {
	"name": "pods",
	"type": "ptp", "mtu": 9000,
	"cniVersion": "0.3.1"
},
    {"type":"halfclose","capabilities":{"io.kubernetes.cri.pod-annotations":true}}
  ]
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	single, err := libcni.NetworkPluginConfFromBytes([]byte(conf))
	if err != nil {
		t.Fatal(err)
	}
	runtime, err := libcni.ConfListFromConf(single) //nolint:staticcheck // deprecated, as such files are: runtimes call it
	if err != nil {
		t.Fatal(err)
	}
	list, err := libcni.NetworkConfFromBytes(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(runtime.Plugins[0].Network, list.Plugins[0].Network); diff != "" || list.Name != runtime.Name || list.CNIVersion != runtime.CNIVersion {
		t.Errorf("a runtime reads something else: %q %q (-want +got)\n%s", list.Name, list.CNIVersion, diff)
	}
}

func TestAnAmbiguousSinglePluginIsRefused(t *testing.T) {
	for name, tt := range map[string]struct{ data, wantErr string }{
		"half of one":                 {`{"name":"a","type":"b"`, "unexpected end"},
		"a key twice":                 {`{"name":"a","type":"b","type":"c"}`, `its key "type" occurs more than once`},
		"a plugin and a list at once": {`{"name":"a","type":"b","plugins":[{"type":"c"}]}`, "both a plugin and a list"},
		"only ours":                   {`{"name":"a","type":"halfclose"}`, "no plugin except halfclose"},
		"no name":                     {`{"type":"b"}`, "no name"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := listOf([]byte(tt.data), nil, entry(t, `{}`))
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got %q and %v, want an error with %q", got, err, tt.wantErr)
			}
		})
	}
}
