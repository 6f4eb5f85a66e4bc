// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// serve starts an empty registry on loopback, and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // no credentials of this machine
	s := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// pushed pushes an archive, and returns the line that it prints.
func pushed(t *testing.T, archive, to string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run([]string{"push", "-to", to, archive}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

// packageChart writes an archive as helm package does.
func packageChart(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	w := tar.NewWriter(zipped)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "chart.tgz")
	put(t, path, b.Bytes(), 0o644)
	return path
}

func TestAPushedImageHasTheDigestOfTheArchive(t *testing.T) {
	archive := archiveOf(t, programsFor(t, elf.EM_X86_64, "one"), programsFor(t, elf.EM_AARCH64, "other"))
	_, i := index(t, archive)
	want, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	repository := serve(t) + "/halfclose"
	if got := pushed(t, archive, repository+":v9"); got != repository+"@"+want.String() {
		t.Errorf("it printed %q, want the digest %s", got, want)
	}
	tag, err := name.NewTag(repository + ":v9")
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Index(tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(pulled); err != nil {
		t.Errorf("the pulled image: %v", err)
	}
	if got, err := pulled.Digest(); err != nil || got != want {
		t.Errorf("the registry has %s, want %s (%v)", got, want, err)
	}
}

func TestHelmPullsThePushedChart(t *testing.T) {
	helm, err := exec.Command("../../scripts/tool.sh", "helm").Output()
	if err != nil {
		t.Fatalf("build helm: %v", err)
	}
	chart := packageChart(t, map[string]string{
		"halfclose/Chart.yaml":               "apiVersion: v2\nname: halfclose\nversion: 9.8.7-dev.gabc\ndescription: a chart\nsources: [https://example.org/source]\n",
		"halfclose/templates/configmap.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n",
	})
	archives := [2]string{filepath.Join(t.TempDir(), "one.oci.tar"), filepath.Join(t.TempDir(), "two.oci.tar")}
	for _, archive := range archives {
		if err := run([]string{"chart", "-o", archive, chart}, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(read(t, archives[0]), read(t, archives[1])) {
		t.Error("the same chart gave two archives")
	}
	repository := serve(t) + "/charts/halfclose"
	printed := pushed(t, archives[0], repository+":9.8.7-dev.gabc")

	dir := t.TempDir()
	pull := exec.Command(strings.TrimSpace(string(helm)), "pull", "oci://"+repository, "--version", "9.8.7-dev.gabc", "--plain-http", "--destination", dir)
	pull.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir())
	out, err := pull.CombinedOutput()
	if err != nil {
		t.Fatalf("helm pull: %v: %s", err, out)
	}
	if digest := printed[strings.Index(printed, "@")+1:]; !bytes.Contains(out, []byte(digest)) {
		t.Errorf("push printed %s, and helm pulled\n%s", digest, out)
	}
	if !bytes.Equal(read(t, filepath.Join(dir, "halfclose-9.8.7-dev.gabc.tgz")), read(t, chart)) {
		t.Error("helm pulled another chart")
	}
	ref, err := name.NewTag(repository + ":9.8.7-dev.gabc")
	if err != nil {
		t.Fatal(err)
	}
	manifest := manifestOf(t, ref)
	if got := manifest.Annotations["org.opencontainers.image.source"]; got != "https://example.org/source" {
		t.Errorf("its source is %q", got)
	}
	if len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != chartContent || manifest.Config.MediaType != chartConfig {
		t.Errorf("the media types of its parts are %+v and %+v", manifest.Config, manifest.Layers)
	}
}

// manifestOf reads a manifest from a registry.
func manifestOf(t *testing.T, ref name.Reference) v1.Manifest {
	t.Helper()
	d, err := remote.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(d.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWhatIsNoChartAndNoArchiveIsRefused(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	put(t, text, []byte("text"), 0o644)
	escaping := filepath.Join(t.TempDir(), "escaping.tar")
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "../outside", Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, escaping, b.Bytes(), 0o644)
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"a text as a chart", "it is no gzip file", []string{"chart", text}},
		{"an archive without Chart.yaml", "has no Chart.yaml", []string{"chart", packageChart(t, map[string]string{"halfclose/values.yaml": ""})}},
		{"a Chart.yaml without a version", "no version", []string{"chart", packageChart(t, map[string]string{"a/Chart.yaml": "name: a"})}},
		{"no chart", "name one archive", []string{"chart"}},
		{"a text as an archive", "unpack", []string{"push", "-to", "localhost:1/a:b", text}},
		{"an archive that leads outside", "unpack", []string{"push", "-to", "localhost:1/a:b", escaping}},
		{"a push without a tag", "-to", []string{"push", "-to", "localhost:1/a", text}},
		{"a push of nothing", "name one archive", []string{"push", "-to", "localhost:1/a:b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := c.args
			if args[0] == "chart" {
				args = append([]string{"chart", "-o", filepath.Join(t.TempDir(), "out")}, args[1:]...)
			}
			if err := run(args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with %q", err, c.want)
			}
		})
	}
}
