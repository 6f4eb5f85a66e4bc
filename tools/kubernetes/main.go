// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command kubernetes is a whole Kubernetes in one file: etcd, the control plane, the kubelet, kubeadm and
// kubectl, each under the name it is called by (a link, or the first argument). One link step makes it, where
// seven would repeat most of the work, and one file goes into an image instead of seven.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubeadmerrors "k8s.io/kubernetes/cmd/kubeadm/app/util/errors"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

const self = "kubernetes"

func main() {
	os.Exit(run(os.Args))
}

func run(args []string) int {
	name := filepath.Base(args[0])
	if name == self && len(args) > 1 {
		// The commands read os.Args themselves.
		os.Args = args[1:]
		name = args[1]
	}
	switch name {
	case "etcd":
		etcdmain.Main(os.Args)
		return 0
	case "kubeadm":
		kubeadmerrors.HandleError(kubeadm.Run()) // which ends the process with a code for each kind of error
		return 0
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	command := daemon(name)
	if command == nil {
		fmt.Fprintln(os.Stderr, "usage: kubernetes "+
			"etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kubeadm|kubectl [ARGUMENT...]")
		return 2
	}
	return cli.Run(command)
}

// daemon is nil for a name that it does not know.
func daemon(name string) *cobra.Command {
	switch name {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kubelet":
		return kubelet.NewKubeletCommand(context.Background())
	}
	return nil
}
