def show(cluster, b):
    return True
