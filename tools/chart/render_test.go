// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

const (
	repository = "../.."
	chartDir   = "deploy/kubernetes/chart" // in the repository
)

// helm runs Helm in the top directory of the repository.
func helm(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	build := exec.Command("scripts/tool.sh", "helm")
	build.Dir, build.Stderr = repository, os.Stderr
	path, err := build.Output()
	if err != nil {
		t.Fatalf("build helm: %v", err)
	}
	cmd := exec.Command(strings.TrimSpace(string(path)), args...)
	cmd.Dir = repository
	home := t.TempDir() // without the repositories and plugins of the user who runs the tests
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+filepath.Join(home, "none"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("helm %s: %w: %s%s", args[0], err, errs.String(), out.String())
	}
	return out.String(), nil
}

// template renders the chart for a cluster of a version.
func template(t *testing.T, version string, args ...string) (string, error) {
	t.Helper()
	return helm(t, append([]string{"template", "halfclose", chartDir, "--namespace", "kube-system", "--kube-version", version}, args...)...)
}

// rendered has the objects of a rendered chart by kind and name.
type rendered map[string]any

// render renders the chart, and reads each object as an API server with strict validation: an unknown field is an error.
func render(t *testing.T, args ...string) rendered {
	t.Helper()
	text, err := template(t, "1.34.0", args...)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

// podMonitor has the fields of the Prometheus operator's type that the chart uses.
type podMonitor struct {
	Kind, APIVersion string
	Metadata         map[string]any
	Spec             struct {
		Selector            map[string]any
		PodMetricsEndpoints []struct {
			Port, Interval string
			HonorLabels    bool
			Relabelings    []map[string]any
		}
	}
}

func parse(t *testing.T, text string) rendered {
	t.Helper()
	objects := make(rendered)
	reader := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		var head struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
		}
		if err := strict.Unmarshal(doc, &head); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if head.Kind == "" { // only a comment
			continue
		}
		if head.Metadata.Namespace != "kube-system" {
			t.Errorf("%s %s is in namespace %q, and not in the release's", head.Kind, head.Metadata.Name, head.Metadata.Namespace)
		}
		object, ok := map[string]any{
			"ConfigMap": &corev1.ConfigMap{}, "DaemonSet": &appsv1.DaemonSet{}, "Job": &batchv1.Job{}, "PodMonitor": &podMonitor{},
			"Role": &rbacv1.Role{}, "RoleBinding": &rbacv1.RoleBinding{}, "ServiceAccount": &corev1.ServiceAccount{},
		}[head.Kind]
		if !ok {
			t.Fatalf("the chart makes a %s, of which this test knows no type", head.Kind)
		}
		if err := strict.UnmarshalStrict(doc, object); err != nil {
			t.Errorf("%s %s: %v", head.Kind, head.Metadata.Name, err)
		}
		objects[head.Kind+" "+head.Metadata.Name] = object
	}
}

// daemonSet returns the DaemonSet.
func (r rendered) daemonSet(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	ds, ok := r["DaemonSet halfclose"].(*appsv1.DaemonSet)
	if !ok {
		t.Fatalf("there is no DaemonSet halfclose among %v", r)
	}
	return ds
}

// container returns the container or init container of that name.
func container(t *testing.T, ds *appsv1.DaemonSet, name string) corev1.Container {
	t.Helper()
	for _, list := range [][]corev1.Container{ds.Spec.Template.Spec.InitContainers, ds.Spec.Template.Spec.Containers} {
		for _, c := range list {
			if c.Name == name {
				return c
			}
		}
	}
	t.Fatalf("there is no container %s", name)
	return corev1.Container{}
}
